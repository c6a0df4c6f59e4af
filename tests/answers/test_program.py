import pytest

from rlsys.answers.program import program_of

STUB = 'def f(x):\n    """Twice."""\n'
WHOLE = "def f(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("response", "setup", "program"),
    [
        ("    return 2 * x\n", STUB, f"{STUB}    return 2 * x\n"),
        ("    return 2 * x\n\ndef g(): (\n", STUB, f"{STUB}    return 2 * x\n"),
        ("\n    return 2 * x\nprint(f(1))", STUB.rstrip(), f"{STUB.rstrip()}\n    return 2 * x"),
        (WHOLE, "", WHOLE),
        (WHOLE + "\ndef g(): pass\n", "import math", f"import math\n{WHOLE}\ndef g(): pass\n"),
        (f"Sure:\n```python\n{WHOLE}```\nDone.", "", WHOLE),
        (f"Sure:\n```python\n{WHOLE}```", STUB, f"{STUB}{WHOLE}"),
        (f"First ```x``` then:\n```\nwrong\n```\nno:\n~~~py\n{WHOLE}~~~", "", WHOLE),
        (f"```python\n{WHOLE}```\nRun it:\n```bash\npython f.py\n```", "", WHOLE),
        ("- so:\n  ```Python\n  def f(x):\n      return 2 * x\n  ```\n", "", WHOLE),
        (f"```python\n{WHOLE}", "", WHOLE),
        (f"<think>```python\nno\n```</think>```python\n{WHOLE}```", "", WHOLE),
        ("```python\n    return 2 * x\n```", STUB, f"{STUB}    return 2 * x\n"),
        ("<think>```python\nx\n```", "", None),
        ("```bash\nls\n```", "", None),
        ("```python\n```", "", None),
        (" \n", STUB, None),
    ],
)
def test_the_program_of_an_answer(response: str, setup: str, program: str | None):
    assert program_of(response, "Write f.", setup) == program


def test_a_fence_that_the_prompt_opened_is_one():
    assert program_of(f"{WHOLE}```\nDone.", "Write f.\n```python\n", "") == WHOLE
