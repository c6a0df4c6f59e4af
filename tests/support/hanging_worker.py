"""A worker for tests: it says twice a number, and a request without one is computed in C for longer than anyone
waits."""

from rlsys.workers.serve import serve


def handle(request: dict) -> dict:
    return {"twice": 2 * request["number"] if "number" in request else 9**9**9**9}


if __name__ == "__main__":
    serve(lambda _: handle)
