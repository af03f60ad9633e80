"""Programs that predict one input with transformers alone, for model cards."""

from __future__ import annotations

from objectives.export.prediction_task import PredictionTask

_PAIR_EXAMPLE = """from transformers import pipeline

classify = pipeline("text-classification", model=".")  # this folder
print(classify({"text": "a text", "text_pair": "another"}, truncation=True))"""

_NUMBER = """from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSequenceClassification.from_pretrained(".")
inputs = tokenizer("a text", truncation=True, return_tensors="pt")
output = model(**inputs).logits.item()  # standardised
print(model.config.label_mean + model.config.label_deviation * output)"""

_WRITES = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSeq2SeqLM.from_pretrained(".")
inputs = tokenizer(["TEXT"], truncation=True, return_tensors="pt")
print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True))"""

_EXAMPLES = {
    "classification": """from transformers import pipeline

classify = pipeline("text-classification", model=".")  # this folder
print(classify("a text", truncation=True))""",
    "regression": _NUMBER,
    "token-classification": """from transformers import pipeline

tag = pipeline("token-classification", model=".", ignore_labels=[])  # this folder
# Of each word, the prediction for its first token counts.
print([(each["word"], each["entity"]) for each in tag("a few words")])""",
    "masked-lm": """from transformers import pipeline

fill = pipeline("fill-mask", model=".")  # this folder
print(fill("a text with a<mask>"))""",
    "causal-lm": """from transformers import pipeline

write = pipeline("text-generation", model=".")  # this folder
print(write("how a text begins"))""",
    "translation": _WRITES.replace("TEXT", "a sentence"),
    "summarisation": _WRITES.replace("TEXT", "a document"),
    "image-classification": """from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor = AutoImageProcessor.from_pretrained(".")  # this folder
model = AutoModelForImageClassification.from_pretrained(".")
image = Image.open("an_image.png").convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "BACKGROUND"), image).convert("MODE")
logits = model(**processor(image, return_tensors="pt")).logits
print(model.config.id2label[int(logits.argmax())])""",
}
"""A program for each task, which runs in the exported folder."""


def example_program(task: PredictionTask, model_class: str = "") -> str:
    """The program for the models of a task.

    Args:
        model_class: Their class, ``module:Class``; of a user's own task it is all that is known.
    """
    if task.name not in _EXAMPLES:
        module, _, name = model_class.partition(":")
        return f"""from {module} import {name}

model = {name}.from_pretrained(".")  # this folder"""
    if task.takes_pairs and task.label_scale:
        return _NUMBER.replace('"a text"', '"a text", "another"')
    if task.takes_pairs:
        return _PAIR_EXAMPLE
    program = _EXAMPLES[task.name].replace("BACKGROUND", task.background)
    return program.replace("MODE", "L" if task.channels == 1 else "RGB")
