"""Chat templates with the quirks of well-known families, each on a tokenizer of single bytes that has the family's own
tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlsys.playground.models import byte_characters


@dataclass(frozen=True)
class Family:
    template: str
    eos: str
    end: str
    """What ends a turn of the assistant."""
    bos: str | None = None
    special: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Single tokens that are no special ones."""
    swallows: bool = False
    """Special tokens take the white space after them."""


CHATML = r"""
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
"""

LLAMA3 = r"""
{{- bos_token }}
{%- if messages[0].role == 'system' -%}
{%- set system = messages[0].content | trim %}{% set messages = messages[1:] -%}
{%- endif -%}
{%- if system is defined or tools -%}
{{ '<|start_header_id|>system<|end_header_id|>\n\n' }}
{%- for tool in tools or [] %}{{ tool | tojson + '\n\n' }}{% endfor -%}
{{ (system or '') + '<|eot_id|>' }}
{%- endif -%}
{%- for message in messages -%}
{%- if message.tool_calls -%}
{%- if message.tool_calls | length != 1 -%}
{{ raise_exception('This model only supports single tool-calls at once!') }}
{%- endif -%}
{%- set call = message.tool_calls[0].function -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{{- '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|eot_id|>' }}
{%- elif message.role == 'tool' -%}
{{ '<|start_header_id|>ipython<|end_header_id|>\n\n' + message.content | tojson + '<|eot_id|>' }}
{%- else -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif -%}
"""

GEMMA = r"""
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif -%}
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif -%}
"""

MISTRAL = r"""
{{- bos_token }}
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}
{%- else %}{{ ' ' + message.content + eos_token }}{% endif -%}
{%- endfor -%}
"""

LLAMA2 = r"""
{%- if messages[0].role == 'system' -%}
{%- set system = messages[0].content %}{% set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{%- set lead = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' if loop.first and system is defined else '' -%}
{{ bos_token + '[INST] ' + lead + message.content | trim + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif -%}
{%- endfor -%}
"""

PHI3 = r"""
{%- for message in messages -%}
{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif -%}
"""

QWEN3 = r"""
{%- if tools -%}
{{ '<|im_start|>system\n' + (messages[0].content + '\n\n' if messages[0].role == 'system' else '') + '# Tools\n' }}
{%- for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif -%}
{%- set last = namespace(query=-1) -%}
{%- for message in messages %}{% if message.role == 'user' %}{% set last.query = loop.index0 %}{% endif %}{% endfor -%}
{%- if last.query < 0 %}{{ raise_exception('No user query found in messages.') }}{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- elif message.role == 'assistant' -%}
{%- set thought = message.reasoning_content or '' -%}
{%- set content = message.content -%}
{%- if not thought and '</think>' in content -%}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\n') -%}
{%- endif -%}
{{ '<|im_start|>assistant\n' }}
{%- if loop.index0 > last.query and (loop.last or thought) -%}
{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}
{%- endif -%}
{{ content }}
{%- for call in message.tool_calls or [] -%}
{%- if (loop.first and content) or not loop.first %}{{ '\n' }}{% endif -%}
{%- set call = call.function or call -%}
{{ '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}{{ '}\n</tool_call>' }}
{%- endfor -%}
{{ '<|im_end|>\n' }}
{%- elif message.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif -%}
{{ '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
"""

HARMONY = r"""
{{- '<|start|>system<|message|>You are a model.<|end|>' }}
{%- if messages[0].role in ('system', 'developer') or tools -%}
{{ '<|start|>developer<|message|>' }}
{%- if messages[0].role in ('system', 'developer') -%}
{{ messages[0].content }}{% set messages = messages[1:] -%}
{%- endif -%}
{%- for tool in tools or [] -%}
{{ '\ntype ' + tool.function.name + ' = ' + tool.function.parameters | tojson }}
{%- endfor -%}
{{ '<|end|>' }}
{%- endif -%}
{%- set last = namespace(call=none) -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' and message.tool_calls -%}
{%- if message.thinking -%}
{{ '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
{%- endif -%}
{%- set call = message.tool_calls[0].function -%}
{%- set last.call = call.name -%}
{{ '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' }}
{{- call.arguments | tojson + '<|call|>' }}
{%- elif message.role == 'assistant' -%}
{%- if loop.last and not add_generation_prompt -%}
{%- if message.thinking -%}
{{ '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' }}
{%- endif -%}
{{ '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|return|>' }}
{%- else %}{{ '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}{% endif -%}
{%- elif message.role == 'tool' -%}
{%- if last.call is none -%}
{{ raise_exception('Message has tool role, but there was no previous tool call!') }}
{%- endif -%}
{{ '<|start|>functions.' + last.call + ' to=assistant<|channel|>commentary<|message|>' }}
{{- message.content | tojson + '<|end|>' }}
{%- elif message.role == 'user' %}{{ '<|start|>user<|message|>' + message.content + '<|end|>' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif -%}
"""

ZEPHYR = r"""
{%- for message in messages -%}
{%- if message.role == 'user' %}{{ '<|user|>\n' + message.content + eos_token + '\n' }}
{%- elif message.role == 'system' %}{{ '<|system|>\n' + message.content + eos_token + '\n' }}
{%- elif message.role == 'assistant' %}{{ '<|assistant|>\n' + message.content + eos_token + '\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif -%}
"""

R1 = r"""
{{- bos_token }}
{%- for message in messages -%}
{%- if message.role == 'system' %}{{ message.content }}
{%- elif message.role == 'user' %}{{ '<｜User｜>' + message.content }}
{%- elif message.role == 'assistant' -%}
{{ '<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif -%}
"""

IM = ("<|im_start|>", "<|im_end|>")
TOOLS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
FAMILIES = {
    "chatml": Family(CHATML, "<|endoftext|>", "<|im_end|>", special=IM),
    "llama3": Family(
        LLAMA3,
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "gemma": Family(GEMMA, "<eos>", "<end_of_turn>", "<bos>", ("<start_of_turn>", "<end_of_turn>")),
    "mistral": Family(MISTRAL, "</s>", "</s>", "<s>", ("[INST]", "[/INST]")),
    "llama2": Family(LLAMA2, "</s>", "</s>", "<s>"),
    "phi3": Family(
        PHI3, "<|endoftext|>", "<|end|>", special=("<|end|>", "<|user|>", "<|system|>", "<|assistant|>"), swallows=True
    ),
    "qwen3": Family(QWEN3, "<|im_end|>", "<|im_end|>", special=("<|endoftext|>", *IM), added=TOOLS),
    "harmony": Family(
        HARMONY, "<|return|>", "<|return|>", special=("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>")
    ),
    "zephyr": Family(ZEPHYR, "</s>", "</s>", "<s>"),
    "r1": Family(
        R1,
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
        ("<｜User｜>", "<｜Assistant｜>"),
    ),
}
"""ChatML on a base model, Llama 3 and 2, Gemma 2, Mistral 7B, Phi-3, Qwen3, gpt-oss, Zephyr, DeepSeek-R1's distilled
models."""


def tokenizer_with(family: str) -> PreTrainedTokenizerFast:
    """Its ids: the 256 bytes, EOS, BOS if there is one, the further special tokens, the other added ones."""
    own = FAMILIES[family]
    core = Tokenizer(models.BPE(vocab={character: byte for byte, character in enumerate(byte_characters())}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    special = dict.fromkeys((own.eos, *filter(None, [own.bos]), *own.special))
    core.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, rstrip=own.swallows) for token in special]
    )
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in own.added])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=own.eos,
        bos_token=own.bos,
        pad_token=own.eos,
        chat_template=own.template.strip(),
    )
