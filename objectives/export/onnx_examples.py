"""Programs that run ``model.onnx`` with onnxruntime and tokenizers alone, for model cards.

Each defines ``predict``, from inputs to outputs. They read what they need to know of the model from
the metadata of the file, where ``PredictionTask`` stands as JSON.
"""

from __future__ import annotations

from objectives.export.prediction_task import PredictionTask

_START = """import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("model.onnx")  # in this folder
names = [each.name for each in session.get_inputs()]
facts = session.get_modelmeta().custom_metadata_map
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.encode_special_tokens = True  # a <s> in a text is text, as in training

"""

_OUTPUTS = """
def outputs(texts):
    # The tokenizer cuts long texts, pads short ones, and adds the special tokens.
    encoded = tokenizer.encode_batch(texts)
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {
        name: np.array([getattr(each, columns[name]) for each in encoded], dtype=np.int64)
        for name in names
    }
    return encoded, session.run(["logits"], inputs)[0]


"""

_CLASSES = (
    _START
    + 'labels = json.loads(facts["labels"])\n\n'
    + _OUTPUTS
    + """def predict(texts):
    return [labels[index] for index in outputs(texts)[1].argmax(-1)]


print(predict([INPUT]))"""
)

_NUMBERS = (
    _START
    + 'mean, deviation = json.loads(facts["label_scale"])\n\n'
    + _OUTPUTS
    + """def predict(texts):
    return (mean + deviation * outputs(texts)[1][:, 0].astype(float)).tolist()


print(predict([INPUT]))"""
)

_TAGS = (
    _START
    + 'labels = json.loads(facts["labels"])\n\n'
    + _OUTPUTS
    + """def predict(sentences):  # with a space between words
    encoded, logits = outputs(sentences)
    found = []
    for sentence, each, tags in zip(sentences, encoded, logits.argmax(-1)):
        end_of_word, place = {}, 0
        for word in sentence.split(" "):
            end_of_word[place] = place + len(word)
            place += len(word) + 1
        first = {}  # the tag of a word is that of its first token; words that are cut have none
        for (start, end), tag, is_special in zip(each.offsets, tags, each.special_tokens_mask):
            word = next((w for w, e in end_of_word.items() if w < end and start < e), None)
            if not is_special and word is not None:
                first.setdefault(word, labels[tag])
        found.append([first.get(word) for word in end_of_word])
    return found


print(predict(["a few words"]))"""
)

_NEXT = (
    _START
    + 'length, end = json.loads(facts["sequence_length"]), json.loads(facts["tokens"])["end"]\n\n'
    + """
def predict(text):
    prompt = tokenizer.encode(text).ids[-(length // 2) :] or [end]
    ids = list(prompt)
    while len(ids) < length and (ids == prompt or ids[-1] != end):
        logits = session.run(["logits"], {"input_ids": np.array([ids], dtype=np.int64)})[0]
        ids.append(int(logits[0, -1].argmax()))
    return tokenizer.decode(ids[len(prompt) :])


print(predict("how a text begins"))"""
)

_IMAGES = """import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")  # in this folder
facts = session.get_modelmeta().custom_metadata_map
labels, processor = json.loads(facts["labels"]), json.loads(facts["image_processor"])
mean, std = (np.array(processor[name])[:, None, None] for name in ("image_mean", "image_std"))
std_of_bytes = std / processor["rescale_factor"]


def pixels(file):
    # Images of 8 bits; scale those of 16 bits, and numbers, to 8 bits before.
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    ground = Image.new("RGBA", image.size, json.loads(facts["background"]))
    image = Image.alpha_composite(ground, image).convert("MODE")
RESIZING
    values = np.asarray(image, dtype=np.float32).reshape(SIZE, SIZE, CHANNELS).transpose(2, 0, 1)
    return values / np.float32(std_of_bytes) - np.float32(mean / std)


def predict(files):
    inputs = {"pixel_values": np.stack([pixels(file) for file in files])}
    return [labels[index] for index in session.run(["logits"], inputs)[0].argmax(-1)]


print(predict(["an_image.png"]))"""

_WHOLE = '    image = image.resize((SIZE, SIZE), processor["resample"])'
_CENTRE = """    image = image.resize(SIDES, processor["resample"])
    left, top = ((side - SIZE) // 2 for side in image.size)
    image = image.crop((left, top, left + SIZE, top + SIZE))"""

_PROGRAMS = {
    "classification": _CLASSES,
    "regression": _NUMBERS,
    "token-classification": _TAGS,
    "causal-lm": _NEXT,
}


def onnx_program(task: PredictionTask) -> str:
    """The program for the models of a task; empty where there is none: those that write texts from
    texts decode with the package beside them, and masks are filled by it."""
    if task.image_size:
        return _of_images(task)
    given = '("a text", "another")' if task.takes_pairs else '"a text"'
    return _PROGRAMS.get(task.name, "").replace("INPUT", given)


def _of_images(task: PredictionTask) -> str:
    size, wanted = task.image_processor["size"], task.image_size
    edge = size.get("shortest_edge")
    if edge is not None:
        sides = f"[{edge} * side // min(image.size) for side in image.size]"
    else:
        sides = f"({size['width']}, {size['height']})"
    is_cut = edge is not None or size["width"] != wanted
    program = _IMAGES.replace("RESIZING", _CENTRE if is_cut else _WHOLE).replace("SIDES", sides)
    mode = "L" if task.channels == 1 else "RGB"
    return (
        program.replace("MODE", mode)
        .replace("SIZE", str(wanted))
        .replace("CHANNELS", str(task.channels))
    )
