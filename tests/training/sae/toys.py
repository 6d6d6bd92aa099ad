"""What the tests of `saelex train-sae` share: a corpus, and states by another way."""

import json

import torch
from transformers import AutoModel, AutoTokenizer


def corpus(path, texts):
    lines = [json.dumps({"_id": str(i), "title": "", "text": text}) + "\n" for i, text in enumerate(texts)]
    path.write_text("".join(lines))
    return str(path)


def expected_states(folder, texts, layer, prompt="", max_length=64):
    """Hugging Face's own hidden states, one text at a time, without special and prompt tokens."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    skipped = len(tokenizer(prompt, add_special_tokens=False).input_ids) if prompt else 0
    parts = []
    for text in texts:
        batch = tokenizer(prompt + text, return_tensors="pt", truncation=True, max_length=max_length)
        with torch.no_grad():
            hidden = model(**batch, output_hidden_states=True).hidden_states[layer + 1][0]
        parts.append(hidden[1 + skipped : -1])
    return torch.cat(parts)
