from __future__ import annotations

import getpass
import socket

import numpy as np
import pytest

from converters.export import export_network
from converters.onnx import to_onnx
from converters.tflite import to_tflite
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.preprocess import to_input


@pytest.mark.parametrize("form", list(ArtifactFormat))
def test_formats_answer_as_torch_does_through_the_device_backends(models, tmp_path, form):
    from converters.parity import torch_outputs

    path = tmp_path / f"model.{form.value}"
    path.write_bytes(getattr(models, form.value))
    backend = open_backend(path, form)
    assert backend.input_shape == (1, 32, 32, 3)
    answers = [backend.run(to_input(pixels)).by_name for pixels in models.pixels]
    assert all(list(answer) == ["logits"] for answer in answers)
    found = np.concatenate([answer["logits"] for answer in answers])
    wanted = np.concatenate([torch_outputs(models.network, pixels)["logits"] for pixels in models.pixels])
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_the_same_weights_give_the_same_bytes_again_without_a_word(models, capfd):
    again = export_network(models.network, height=32, width=32)
    assert to_tflite(again) == models.tflite
    assert to_onnx(again) == models.onnx
    assert capfd.readouterr() == ("", "")


def test_onnx_has_named_io_and_no_marks_of_this_machine(models):
    import onnx

    model = onnx.load_from_string(models.onnx)
    onnx.checker.check_model(model)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert not model.metadata_props
    for node in model.graph.node:
        assert not node.metadata_props
        assert not node.doc_string


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_no_paths_hosts_or_users_in_the_bytes(models, form, repository):
    data = getattr(models, form)
    for mark in (str(repository), "site-packages", ".py", "/usr/", "/home/", socket.gethostname()):
        assert mark.encode() not in data, mark
    assert f"/{getpass.getuser()}/".encode() not in data
