"""Train the digit-reader model and write model.tflite and samples.json beside this file.

The digits that ship with scikit-learn: 1,797 images of 8 x 8 pixels, each 0 to 16. A perceptron with one hidden
layer is trained by scikit-learn and written as TensorFlow Lite by hand: the file is a FlatBuffer of four operators,
which needs the format's schema and no TensorFlow. Split, training and writing are deterministic.

    python snaps/digit-reader/train.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 7
HELD_OUT = 0.25
HIDDEN = 32
BRIGHTEST = 16
SAMPLES_PER_DIGIT = 2
PROBABILITY_TOLERANCE = 1e-3
DECIMALS = 4
"""Learnt numbers are rounded to this, far below what they mean and above what processors disagree on."""

FLOAT32, INT32, INT64 = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.INT64
OPERATORS = schema.BuiltinOperator


def train() -> tuple[MLPClassifier, np.ndarray, np.ndarray]:
    """A fitted perceptron, and the held-out images with their digits."""
    images, digits = load_digits(return_X_y=True)
    known, held_out, known_digits, held_out_digits = train_test_split(
        images, digits, test_size=HELD_OUT, random_state=SEED, stratify=digits
    )
    perceptron = MLPClassifier((HIDDEN,), solver="lbfgs", alpha=1.0, max_iter=400, tol=1e-3, random_state=SEED)
    perceptron.fit(known / BRIGHTEST, known_digits)
    # The model takes pixels as they are: their scale goes into the first weights.
    perceptron.coefs_[0] = perceptron.coefs_[0] / BRIGHTEST
    for numbers in (*perceptron.coefs_, *perceptron.intercepts_):
        numbers[:] = np.round(numbers, DECIMALS)
    return perceptron, held_out, held_out_digits


class Graph:
    """A TensorFlow Lite model that grows tensor by tensor."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "digit-reader"
        self.model.buffers = [schema.BufferT()]  # the first is empty by the format's rules
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.name = "main"
        self.graph.tensors = []
        self.graph.operators = []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, kind: int, shape: list[int], data: np.ndarray | None = None) -> int:
        """The index of a new tensor; -1 is a free dimension."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.type = kind
        tensor.shape = [abs(size) for size in shape]
        tensor.shapeSignature = shape if -1 in shape else None
        tensor.hasRank = True
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: int, kind_of_options: int, options: object, inputs: list[int], output: int) -> int:
        """Compute a tensor; its index."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind_of_options, options
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)
        return output

    def dense(self, name: str, values: int, weights: np.ndarray, bias: np.ndarray, *, relu: bool) -> int:
        """A fully connected layer; the index of what it gives."""
        options = schema.FullyConnectedOptionsT()
        kinds = schema.ActivationFunctionType
        options.fusedActivationFunction = kinds.RELU if relu else kinds.NONE
        width = len(bias)
        inputs = [
            values,
            self.tensor(f"{name}/weights", FLOAT32, [width, len(weights)], weights.T.astype("<f4", order="C")),
            self.tensor(f"{name}/bias", FLOAT32, [width], bias.astype("<f4")),
        ]
        kind = schema.BuiltinOptions.FullyConnectedOptions
        return self.operator(OPERATORS.FULLY_CONNECTED, kind, options, inputs, self.tensor(name, FLOAT32, [-1, width]))

    def write(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """The file, with these tensors as its signature."""
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.subgraphIndex = 0
        signature.inputs, signature.outputs = _named(inputs), _named(outputs)
        self.model.signatureDefs = [signature]
        self.graph.inputs, self.graph.outputs = list(inputs.values()), list(outputs.values())
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _named(tensors: dict[str, int]) -> list[schema.TensorMapT]:
    maps = []
    for name, index in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        maps.append(entry)
    return maps


def convert(perceptron: MLPClassifier) -> bytes:
    """The perceptron as TensorFlow Lite: `image` in, `digit` and `probabilities` out."""
    graph = Graph()
    image = graph.tensor("image", FLOAT32, [-1, 8, 8])
    # A fully connected layer takes an image as a row of pixels, without being told to.
    hidden = graph.dense("hidden", image, perceptron.coefs_[0], perceptron.intercepts_[0], relu=True)
    scores = graph.dense("scores", hidden, perceptron.coefs_[1], perceptron.intercepts_[1], relu=False)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    probabilities = graph.tensor("probabilities", FLOAT32, [-1, 10])
    graph.operator(OPERATORS.SOFTMAX, schema.BuiltinOptions.SoftmaxOptions, softmax, [scores], probabilities)
    largest = schema.ArgMaxOptionsT()
    largest.outputType = INT64
    axis = graph.tensor("axis", INT32, [], np.array(1, dtype="<i4"))
    digit = graph.tensor("digit", INT64, [-1])
    graph.operator(OPERATORS.ARG_MAX, schema.BuiltinOptions.ArgMaxOptions, largest, [scores, axis], digit)
    return graph.write({"image": image}, {"digit": digit, "probabilities": probabilities})


def golden_samples(perceptron: MLPClassifier, images: np.ndarray, digits: np.ndarray) -> dict[str, object]:
    """Held-out images that the perceptron reads right, the first few of each digit.

    The digit must be exact: it is the true one. The probabilities pin what scikit-learn computed.
    """
    probabilities = perceptron.predict_proba(images)
    right = probabilities.argmax(axis=1) == digits
    samples = []
    for digit in range(10):
        for index in np.flatnonzero(right & (digits == digit))[:SAMPLES_PER_DIGIT]:
            pixels = [float(value) for value in images[index]]
            chances = [round(float(value), 6) for value in probabilities[index]]
            request = {"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": pixels}]}
            outputs = [
                {"name": "digit", "shape": [1], "datatype": "INT64", "data": [digit]},
                {
                    "name": "probabilities",
                    "shape": [1, 10],
                    "datatype": "FP32",
                    "data": chances,
                    "atol": PROBABILITY_TOLERANCE,
                },
            ]
            samples.append({"name": f"digit-{digit}-row-{index}", "request": request, "expect": {"outputs": outputs}})
    return {"format": 1, "samples": samples}


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    output: Path = parser.parse_args().output

    perceptron, images, digits = train()
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.tflite").write_bytes(convert(perceptron))
    print(f"model.tflite: right about {perceptron.score(images, digits):.1%} of {len(images)} held-out images")
    document = json.dumps(golden_samples(perceptron, images, digits), indent=None, separators=(",", ":"))
    (output / "samples.json").write_text(document.replace('{"name":"digit-', '\n{"name":"digit-') + "\n")
    print(f"samples.json: {SAMPLES_PER_DIGIT} held-out images of each digit")


if __name__ == "__main__":
    main()
