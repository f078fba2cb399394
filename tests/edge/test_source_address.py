"""A password must not get into a name, whatever people write."""

from __future__ import annotations

import pytest

from edge.errors import UsageError
from edge.sources.address import check_address, is_address, public_name

SECRETS = ("s3cret", "ada", "Zm9v")


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("rtsp://10.0.0.5:554/ch1/main", "rtsp://10.0.0.5:554/ch1/main"),
        ("RTSP://ada:s3cret@camera.local/live", "rtsp://camera.local/live"),
        ("rtsps://ada@camera/live#s3cret", "rtsps://camera/live"),
        ("http://ada:s3cret@[fe80::1]:8080/mjpg?token=Zm9v", "http://[fe80::1]:8080/mjpg"),
        ("https://camera?user=ada&password=s3cret", "https://camera"),
        ("rtsp://ada:s3@s3cret@camera/live", "rtsp://camera/live"),
        ("rtsp://ada:x/s3cret@camera/live", "rtsp://…"),
        ("rtsp://ada:s3?cret@camera/live", "rtsp://…"),
        ("rtsp://ada:1#s3cret@camera/live", "rtsp://…"),
        ("rtsp://ada:s3cret/live", "rtsp://…"),
        ("http://camera/mjpg?mail=ada@home&key=s3cret", "http://…"),
        ("rtsp://camera/user=ada&password=s3cret/1", "rtsp://camera/…/1"),
        ("rtsp://camera/live;key=s3cret", "rtsp://camera/…"),
        ("rtsp://ada:s3cret@", "rtsp://…"),
        ("rtsp://", "rtsp://…"),
        ("ftp://ada:s3cret@camera/x", "ftp://camera/x"),
        ("rtsp:/ada:s3cret@camera/live", "…"),
        ("http:camera?key=s3cret", "…"),
        ("ada:s3cret@camera/live", "…"),
        (" rtsp://ada:s3cret@camera/li\nve", "rtsp://camera/li?ve"),
        ("pictures/2024", "pictures/2024"),
        ("/srv/@eaDir/pictures", "/srv/@eaDir/pictures"),
        ("camera:0", "camera:0"),
        ("/dev/video0", "/dev/video0"),
        ("", ""),
    ],
)
def test_a_name_holds_no_secret(where: str, name: str) -> None:
    assert public_name(where) == name
    assert not any(secret in public_name(where) for secret in SECRETS)


@pytest.mark.parametrize(
    "where",
    [
        "rtsp://camera/live",
        "RTSPS://ada:p%40ss@10.0.0.5:322/",
        "http://camera",
        "https://[::1]:8443/mjpg?mail=ada@home&key=s3cret",
    ],
)
def test_addresses_that_may_lead_to_a_camera(where: str) -> None:
    assert is_address(where)
    check_address(where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ftp://ada:s3cret@camera/x", "no way to open ftp://camera/x"),
        ("file:///etc/passwd", "no way to open file://…"),
        ("rtsp://", "rtsp://… is not the address of a camera"),
        ("rtsp:///live", "rtsp://… is not the address of a camera"),
        ("rtsp://ada:x/s3cret@camera/live", "rtsp://… is not the address of a camera"),
        ("rtsp://ada:1/s3cret@camera/live", "rtsp://… is not the address of a camera"),
        ("rtsp://camera:port/live", "rtsp://… is not the address of a camera"),
        ("rtsp://ada:s3cret@camera/my live", "rtsp://camera/my live is not the address of a camera"),
        ("rtsp://ada:s3cret@camera/live\r\nX: y", "rtsp://camera/live??X: y is not the address of a camera"),
        ("pictures", "no way to open pictures"),
    ],
)
def test_addresses_that_cannot(where: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_address(where)
    assert caught.value.message == message
    assert caught.value.hint
    assert not any(secret in str(caught.value) for secret in SECRETS)
