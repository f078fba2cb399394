"""A device that runs version 1, its honest publisher, and a real gRPC server that a test lets play the attacker."""

from __future__ import annotations

from pathlib import Path

from device_world import copy_tree, publish, root_file
from loopback_server import ServerState, start_server
from published_files import UpdatedDevice, published_table, signed_by

from cloud_train.publish.keys import create_key
from cloud_train.publish.root import apply_draft, change_root, rotate, sign_draft
from edge.bundle.reader import open_bundle
from edge.sync.grpc_transport import GrpcTransport
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0
DAY = 86_400.0


def make_before(folder: Path, make_bundle) -> Path:
    """A store that offers version 1, and a device that runs it; made once and copied for each attack."""
    for number in (1, 2, 3):
        make_bundle(folder / f"v{number}", version=number, flavour=number)
    publish(folder / "store", folder / "v1", now=NOW)
    device = UpdatedDevice(folder / "home")
    device.trust_root(root_file(folder / "store"))
    server = start_server(ServerState(files=published_table(folder / "store")))
    road = GrpcTransport(server.target, timeout_s=5)
    assert device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
    device.slots.confirm()
    road.close()
    server.stop()
    return folder


class Scene:
    """The honest store, the device, and the attacker's server; `attacker.files` is what the attacker serves."""

    def __init__(self, folder, before):
        self.before = before
        self.store = folder / "store"
        copy_tree(before / "store", self.store)
        copy_tree(before / "home", folder / "home")
        self.device = UpdatedDevice(folder / "home")
        self.state = ServerState(files=published_table(self.store))
        self.server = start_server(self.state)
        self.now = NOW
        self.wanted = ""
        self.timeout_s = 5.0

    @property
    def files(self):
        return self.state.files

    def bundle(self, number):
        return self.before / f"v{number}"

    def digest(self, number):
        return open_bundle(self.bundle(number)).digest

    def publish(self, number):
        """The honest publisher goes on, and the attacker has it all."""
        publish(self.store, self.bundle(number), now=NOW)
        self.serve()

    def serve(self):
        self.state.files = published_table(self.store)

    def steal(self, path, change, *roles):
        self.files[path] = signed_by(self.store, self.files[path], change, roles=roles)

    def update(self):
        road = GrpcTransport(self.server.target, timeout_s=self.timeout_s)
        try:
            return self.device.update(road, self.now, wanted=self.wanted)
        finally:
            road.close()

    def rotate(self, *roles):
        for role in roles:
            new = create_key(self.store / "keys", role).public_key
            draft = change_root(self.store, lambda root, role=role, new=new: rotate(root, role, [new]), now=NOW)
            sign_draft(draft.file, self.store / "keys")
            apply_draft(self.store, now=NOW)


def manifest_path(scene, number):
    return f"targets/channel/stable/{scene.digest(number)}.manifest.json"


def model_path(scene, number):
    bundle = open_bundle(scene.bundle(number))
    digest = next(entry.sha256 for entry in bundle.manifest.files if entry.name == "tiny_fp32.onnx")
    return f"files/sha256/{digest}"
