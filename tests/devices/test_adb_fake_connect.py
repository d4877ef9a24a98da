"""The real adb server with a fake phone: URLs, finding a phone, commands and files, and what is said where not."""

import os
from pathlib import Path

import pytest
from android import Android
from fake_adbd import FakePhone
from phones import Plug
from ports import free_port

from mlkdc.devices.adb.client import Adb, connect
from mlkdc.devices.adb.guard import Guard
from mlkdc.devices.adb.url import AdbUrl, parse_url
from mlkdc.devices.base import DeviceLost
from mlkdc.errors import MlkdcError, UsageError


def test_urls() -> None:
    assert parse_url("adb://") == AdbUrl()
    assert parse_url("adb://R58M1") == parse_url("adb://R58M1/") == AdbUrl("R58M1")
    assert parse_url("adb://10.0.0.7:5555?python=/data/p+y/bin/python3.12") == AdbUrl(
        "10.0.0.7:5555", python="/data/p+y/bin/python3.12"
    )
    both = parse_url("adb://emulator-5554?benchmark_model=/a/b&executor_runner=/c")
    assert both == AdbUrl("emulator-5554", benchmark_model="/a/b", executor_runner="/c")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ssh://pi", "expected adb://SERIAL"),
        ("adb://-H", "is no serial number"),
        ("adb://a b", "is no serial number"),
        ("adb://x?pyhton=/a", "did you mean python"),
        ("adb://x?python=/a;reboot", "letters, digits"),
        ("adb://x?python=/a%20b", "letters, digits"),
        ("adb://x?python=$(id)", "letters, digits"),
        ("adb://x?python=/a%0Ab", "letters, digits"),
        ("adb://x?benchmark_model=a", "absolute path"),
        ("adb://x?python=", "absolute path"),
        ("adb://x?python=/a&benchmark_model=/b", "either python or programs"),
    ],
)
def test_a_url_that_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_url(url)


def test_a_command_keeps_its_bytes_and_its_exit_code(phone: FakePhone) -> None:
    every_byte = bytes(range(256)) * 2000 + b"\r\n\n"
    (phone.tmp / "bytes").write_bytes(every_byte)
    adb = connect(None)
    done = adb.shell("cat bytes; echo warning >&2; exit 7")
    assert (done.stdout, done.stderr, done.code) == (every_byte, "warning", 7)
    assert connect(phone.serial).shell("true").code == 0


def test_a_file_arrives(phone: FakePhone, tmp_path: Path) -> None:
    source = tmp_path / "with space;and 'more"
    source.write_bytes(os.urandom(700_000))
    connect(None).push(source, "/data/local/tmp/copy")
    assert (phone.tmp / "copy").read_bytes() == source.read_bytes()


def test_a_full_phone(plug: Plug, tmp_path: Path) -> None:
    plug(free_bytes=100_000)
    source = tmp_path / "large.tflite"
    source.write_bytes(bytes(2_000_000))
    with pytest.raises(MlkdcError, match=r"has no room for large.tflite \(2.0 MB\)"):
        connect(None).push(source, "/data/local/tmp/copy")


def test_a_file_that_cannot_be_written_or_is_damaged(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(b"content")
    with pytest.raises(MlkdcError, match=r"could not copy model .*No such file or directory"):
        connect(None).push(source, "/data/local/tmp/none/copy")
    android.add("sha256sum", "echo 00ff copy")
    with pytest.raises(MlkdcError, match="could not copy model"):
        connect(None).push(source, "/data/local/tmp/copy")


def test_a_phone_that_is_unplugged_in_the_middle(plug: Plug) -> None:
    """adb itself ends with 0 then, and with what had come."""
    phone = plug(unplug_at="sleep 5")
    adb = connect(None)
    with pytest.raises(DeviceLost, match=f"adb://{phone.serial} was disconnected"):
        adb.shell("echo half; sleep 5; echo whole")


def test_a_phone_that_hangs(phone: FakePhone) -> None:
    with pytest.raises(DeviceLost, match=r"did not answer within 0\.5 s"):
        connect(None).shell("sleep 30", seconds=0.5)


def test_no_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"adb is not installed: .*apt install adb"):
        connect(None)


def test_a_server_that_does_not_start(adb_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    # adb starts no server on another machine.
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.2:{free_port()}")
    with pytest.raises(DeviceLost, match="adb's server cannot be reached"):
        connect(None)


def test_no_phone(plug: Plug) -> None:
    with pytest.raises(DeviceLost, match="adb sees no phone: plug it in, turn on USB debugging"):
        connect(None)


def test_two_phones(plug: Plug) -> None:
    first, second = plug(), plug()
    with pytest.raises(UsageError, match="adb sees 2 phones") as caught:
        connect(None)
    assert f"adb://{first.serial}" in str(caught.value)
    assert f"adb://{second.serial}" in str(caught.value)
    assert connect(second.serial).shell("pwd").text.strip() == str(second.tmp)


def test_another_serial(phone: FakePhone) -> None:
    with pytest.raises(DeviceLost, match=f"adb sees no phone R58M1, only {phone.serial}"):
        connect("R58M1")


def test_a_phone_that_does_not_trust_this_computer(plug: Plug) -> None:
    plug(trusted=False)
    with pytest.raises(UsageError, match="does not trust this computer: unlock it"):
        connect(None)


def test_a_phone_that_is_offline(plug: Plug) -> None:
    phone = plug(unplug_at="exit 0", unplug_after=0.0)
    with pytest.raises(DeviceLost):
        Adb("adb", phone.serial).shell("sleep 5; exit 0")
    with pytest.raises(DeviceLost, match="is offline: unplug it"):
        connect(phone.serial)


def test_a_second_measurement_is_told_and_a_killed_one_is_forgotten(phone: FakePhone, android: Android) -> None:
    first = Guard(connect(None))
    with pytest.raises(UsageError, match=f"adb://{phone.serial} is being measured by another mlkdc; try again"):
        Guard(connect(None))
    # The phone's state is still the first one's.
    assert android.calls.count("cmd power set-fixed-performance-mode-enabled false") == 0
    assert [path.name for path in phone.tmp.iterdir()] == [Path(first.folder).name]
    first.close()
    left = phone.tmp / "mlkdc-0123"
    left.mkdir()
    # Of a process that lives, and is another's.
    (left / "guard").write_text(f"{os.getpid()}\n")
    kept = Guard(connect(None), keep=True)
    assert not left.exists()
    kept.close()
    Guard(connect(None)).close()
    assert [path.name for path in phone.tmp.iterdir()] == [Path(kept.folder).name]


@pytest.mark.timeout(30)
def test_what_adb_says_without_end_stops_nothing(tmp_path: Path) -> None:
    """More than a pipe holds, before the first answer and after the last, and a line that never ends."""
    program = tmp_path / "adb"
    flood = "head -c 300000 /dev/zero | tr '\\0' x"
    program.write_text(
        f"#!/bin/sh\n{flood} >&2\necho fixed=yes\ncat >/dev/null\n{flood}\n{flood} >&2\necho; echo gone\nsleep 0.1\n"
    )
    program.chmod(0o755)
    guard = Guard(Adb(str(program), "chatty"))
    assert guard.fixed_performance
    guard.close()
    assert guard._process.returncode == 0
