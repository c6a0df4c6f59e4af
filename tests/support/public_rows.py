"""Rows of public data sets, in their own columns."""

from __future__ import annotations

from support.sample import AGAIN, ANSWER, ASK, WEATHER, WRONG, Sample, said, turn

PUBLIC = (
    Sample(
        "tatsu-lab/alpaca",
        "demonstrations",
        "alpaca",
        (
            {
                "instruction": "Name the colour.",
                "input": "grass",
                "output": "Green.",
                "text": "Below is an instruction ...",
            },
        ),
        ("Green.",),
    ),
    Sample(
        "databricks/databricks-dolly-15k",
        "demonstrations",
        "prompt_answer",
        ({"instruction": "Who wrote it?", "context": "", "response": "Homer.", "category": "open_qa"},),
        ("Homer.",),
        {"prompt_format": "{instruction}\n\n{context}", "fields": {"answer": "response"}},
    ),
    Sample(
        "anon8231489123/ShareGPT_Vicuna_unfiltered",
        "demonstrations",
        "sharegpt",
        (
            {
                "id": "QWJhYvA_0",
                "conversations": [
                    said("human", "Hi"),
                    said("gpt", "Hello!"),
                    said("human", "Bye"),
                    said("gpt", "See you."),
                ],
            },
        ),
        ("Hello!", "See you."),
    ),
    Sample(
        "Open-Orca/SlimOrca",
        "demonstrations",
        "sharegpt",
        (
            {
                "conversations": [
                    said("system", "Be brief.", weight=None),
                    said("human", "2+2?", weight=0.0),
                    said("gpt", "4", weight=1.0),
                ]
            },
        ),
        ("4",),
    ),
    Sample(
        "HuggingFaceH4/ultrachat_200k",
        "demonstrations",
        "messages",
        (
            {
                "prompt": "Hi",
                "prompt_id": "f0e3",
                "messages": [
                    turn("user", "Hi"),
                    turn("assistant", "Hello!"),
                    turn("user", "Bye"),
                    turn("assistant", "Ciao"),
                ],
            },
        ),
        ("Hello!", "Ciao"),
        {"split": "train_sft"},
    ),
    Sample(
        "trl-lib/Capybara",
        "demonstrations",
        "messages",
        ({"source": "Airoboros", "messages": [ASK, ANSWER], "num_turns": 1},),
        ("4",),
    ),
    Sample(
        "trl-lib/tldr",
        "demonstrations",
        "prompt_completion",
        ({"prompt": "SUBREDDIT: r/x\n\nTL;DR:", "completion": " Cats are fine."},),
        (" Cats are fine.",),
    ),
    Sample(
        "lmsys/lmsys-chat-1m",
        "demonstrations",
        "messages",
        (
            {
                "conversation_id": "33f8",
                "model": "vicuna-13b",
                "conversation": [ASK, ANSWER],
                "turn": 1,
                "language": "English",
                "redacted": False,
            },
        ),
        ("4",),
    ),
    Sample(
        "AI-MO/NuminaMath-CoT",
        "demonstrations",
        "messages",
        (
            {
                "source": "aops",
                "problem": "2+2?",
                "solution": "It is $\\boxed{4}$.",
                "messages": [ASK, turn("assistant", "It is $\\boxed{4}$.")],
            },
        ),
        ("It is $\\boxed{4}$.",),
    ),
    Sample(
        "HuggingFaceTB/smoltalk",
        "demonstrations",
        "messages",
        (
            {
                "messages": [turn("system", "Rewrite it."), turn("user", "yo"), turn("assistant", "Good day.")],
                "source": "smol-rewrite",
            },
        ),
        ("Good day.",),
        {"subset": "all"},
    ),
    Sample(
        "OpenAI's fine-tuning files, with tools",
        "demonstrations",
        "messages",
        ({"messages": [turn("user", "Is it cold in Oslo?"), turn("assistant", "Which day?")], "tools": [WEATHER]},),
        ("Which day?",),
    ),
    Sample(
        "openai/gsm8k",
        "prompts",
        "prompt_answer",
        ({"question": "Jo has 18 eggs and eats 2. How many?", "answer": "18-2=<<18-2=16>>16\n#### 16"},),
        ("16",),
        {"subset": "main", "fields": {"prompt": "question", "answer": "answer"}, "answer_after": "####"},
    ),
    Sample(
        "EleutherAI/hendrycks_math",
        "prompts",
        "prompt_answer",
        ({"problem": "What is $1+1$?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{2}$."},),
        ("It is $\\boxed{2}$.",),
        {"subset": "algebra", "fields": {"prompt": "problem", "answer": "solution"}},
    ),
    Sample(
        "HuggingFaceH4/MATH-500",
        "prompts",
        "prompt_answer",
        (
            {
                "problem": "What is $1+1$?",
                "solution": "It is $\\boxed{2}$.",
                "answer": "2",
                "subject": "Algebra",
                "level": 1,
                "unique_id": "test/algebra/1.json",
            },
        ),
        ("2",),
        {"split": "test", "fields": {"prompt": "problem"}},
    ),
    Sample(
        "BytedTsinghua-SIA/DAPO-Math-17k (verl's columns)",
        "prompts",
        "prompt_answer",
        (
            {
                "data_source": "math_dapo",
                "prompt": [ASK],
                "ability": "MATH",
                "reward_model": {"ground_truth": "4", "style": "rule"},
                "extra_info": {"index": "9a9b"},
            },
        ),
        ("4",),
        {"fields": {"answer": "reward_model.ground_truth"}},
    ),
    Sample(
        "google/boolq",
        "prompts",
        "prompt_answer",
        ({"question": "is water wet", "answer": True, "passage": "Water makes things wet."},),
        ("true",),
        {"prompt_format": "{passage}\n\n{question}?"},
    ),
    Sample(
        "Anthropic/hh-rlhf",
        "comparisons",
        "dialogues",
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away."},),
        ("Hello!", "Go away."),
    ),
    Sample(
        "HuggingFaceH4/ultrafeedback_binarized",
        "comparisons",
        "chosen_rejected",
        (
            {
                "prompt": "2+2?",
                "prompt_id": "0a",
                "chosen": [ASK, ANSWER],
                "rejected": [ASK, WRONG],
                "messages": [ASK, ANSWER],
                "score_chosen": 9.0,
                "score_rejected": 2.0,
            },
        ),
        ("4", "5"),
        {"split": "train_prefs"},
    ),
    Sample(
        "trl-lib/ultrafeedback_binarized",
        "comparisons",
        "dialogues",
        ({"chosen": [ASK, ANSWER], "rejected": [ASK, WRONG], "score_chosen": 8.0, "score_rejected": 1.0},),
        ("4", "5"),
    ),
    Sample(
        "Intel/orca_dpo_pairs",
        "comparisons",
        "chosen_rejected",
        ({"system": "You are an AI assistant.", "question": "2+2?", "chosen": "4", "rejected": "5"},),
        ("4", "5"),
        {"fields": {"prompt": "question"}},
    ),
    Sample(
        "openbmb/UltraInteract_pair",
        "comparisons",
        "chosen_rejected",
        ({"task": "Math", "id": 1, "trajectory": [said("user", "2+2?")], "chosen": "4", "rejected": "5"},),
        ("4", "5"),
        {"fields": {"messages": "trajectory"}},
    ),
    Sample(
        "hiyouga/DPO-En-Zh-20k (LLaMA-Factory's columns)",
        "comparisons",
        "chosen_rejected",
        ({"conversations": [said("human", "2+2?")], "chosen": said("gpt", "4"), "rejected": said("gpt", "5")},),
        ("4", "5"),
        {"subset": "en"},
    ),
    Sample(
        "trl-lib/kto-mix-14k",
        "labelled",
        "labelled",
        (
            {"prompt": [ASK], "completion": [ANSWER], "label": True},
            {"prompt": [AGAIN], "completion": [WRONG], "label": False},
        ),
        ("4", "not 5"),
    ),
    Sample(
        "roneneldan/TinyStories",
        "texts",
        "text",
        ({"text": "Once upon a time there was a cat."},),
        ("Once upon a time there was a cat.",),
    ),
    Sample(
        "timdettmers/openassistant-guanaco",
        "texts",
        "text",
        ({"text": "### Human: Hola### Assistant: Buenas."},),
        ("### Human: Hola### Assistant: Buenas.",),
    ),
)
