"""What several test files share: fakes, servers, engines, configs."""
