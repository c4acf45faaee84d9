"""A client of a Triton server, run by the Python that has ``tritonclient``: needs nothing of the project.

python triton_client.py parse CONFIG      # config.pbtxt by tritonclient's protocol buffer, as JSON
python triton_client.py ask FOLDER        # FOLDER/asked.json, one request after the other
python triton_client.py load FOLDER       # FOLDER/load.json, many clients at once, until all have what they want
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from threading import Thread

import numpy as np

ONE_REQUEST = 30.0
"""Seconds."""


class Client:
    """One client of one protocol."""

    def __init__(self, protocol: str, address: str, model: str) -> None:
        self.module = import_module(f"tritonclient.{protocol}")
        self.model = model
        if protocol == "grpc":
            quick = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 100)]
            self.client = self.module.InferenceServerClient(address, channel_args=quick)
        else:
            self.client = self.module.InferenceServerClient(address, network_timeout=ONE_REQUEST)

    def upscale(self, images: np.ndarray, version: str = "") -> np.ndarray:
        kinds = {"uint8": "UINT8", "float32": "FP32"}
        asked = self.module.InferInput("image", list(images.shape), kinds[str(images.dtype)])
        asked.set_data_from_numpy(images)
        return self.client.infer(self.model, [asked], model_version=version).as_numpy("upscaled")


def ask(folder: Path) -> None:
    """Ask for each picture; of each what came, or the error's words."""
    answers = []
    for number, each in enumerate(json.loads((folder / "asked.json").read_text())):
        client = Client(each["protocol"], each["address"], each["model"])
        try:
            result = client.upscale(np.load(folder / each["images"]), each["version"])
        except Exception as error:
            answers.append({"error": str(error)})
        else:
            np.save(folder / f"answer-{number}.npy", result)
            answers.append({"answer": f"answer-{number}.npy"})
    (folder / "answers.json").write_text(json.dumps(answers))


class Wanting(Thread):
    """A client that asks until it has as many right answers as it wants, whatever happens to the server."""

    def __init__(self, plan: dict, pictures: list[tuple[np.ndarray, np.ndarray]], number: int) -> None:
        super().__init__()
        self.protocol = ("http", "grpc")[number % 2]
        self.plan, self.pictures, self.number = plan, pictures, number
        self.right = self.wrong = self.errors = self.right_after_error = 0

    def _has_all(self) -> bool:
        return self.right >= self.plan["each"] and self.right_after_error >= self.plan["each_after_error"]

    def run(self) -> None:
        until = time.monotonic() + self.plan["seconds"]
        client = Client(self.protocol, self.plan[self.protocol], self.plan["model"])
        while not self._has_all() and time.monotonic() < until:
            images, expected = self.pictures[(self.right + self.number) % len(self.pictures)]
            try:
                result = client.upscale(images)
            except Exception:  # the server is away: any of a dozen types
                self.errors += 1
                time.sleep(0.05)
                continue
            if np.array_equal(result, expected):
                self.right += 1
                self.right_after_error += bool(self.errors)
            else:
                self.wrong += 1
            Path(self.plan["progress"], f"{self.number}").write_text(str(self.right))


def load(folder: Path) -> None:
    """Let many clients ask at once."""
    plan = json.loads((folder / "load.json").read_text())
    pictures = [(np.load(folder / asked), np.load(folder / expected)) for asked, expected in plan["pictures"]]
    clients = [Wanting(plan, pictures, number) for number in range(plan["clients"])]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    names = ("protocol", "right", "wrong", "errors", "right_after_error")
    found = [{name: getattr(client, name) for name in names} for client in clients]
    (folder / "found.json").write_text(json.dumps(found))


def parse(config: Path) -> None:
    """Print a model configuration as JSON, with every field that is set."""
    from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

    proto = import_module("tritonclient.grpc").model_config_pb2.ModelConfig()
    text_format.Parse(config.read_text(), proto)
    print(json.dumps(json_format.MessageToDict(proto, preserving_proto_field_name=True)))


if __name__ == "__main__":
    {"parse": parse, "ask": ask, "load": load}[sys.argv[1]](Path(sys.argv[2]))
