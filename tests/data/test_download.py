"""Downloads from a local server that interrupts, changes and refuses, and other sources."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_archives import FILE, NAME, kept, offer, part, picture, refused

from dhl.config.catalogue import CATALOGUE, Archive
from dhl.data import transfer
from dhl.data.download import archive_path, fetch, write_receipt
from dhl.data.locations import data_root


@pytest.mark.parametrize(
    "name", ["bsds500", "imagenette-160", "voc2012", "sbd", "imagenet-samples", "camvid"]
)
def test_a_set_is_downloaded_once(name, site, monkeypatch, tmp_path):
    content = offer(name, site, monkeypatch)
    folder = fetch(name, root=tmp_path, mirrors={})
    assert folder == tmp_path / name
    for pattern, count in CATALOGUE[name].members.items():
        assert len(list(folder.glob(pattern))) == count > 0
    assert archive_path(tmp_path, name, site.paths[0][1:]).read_bytes() == content
    assert fetch(name, root=tmp_path, mirrors={}) == folder
    assert len(site.requests) == 1


def test_an_interrupted_download_is_resumed(site, content, tmp_path):
    site.cuts = [1000, 500]
    fetch(NAME, root=tmp_path, mirrors={})
    assert kept(tmp_path).read_bytes() == content
    assert site.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert [headers.get("If-Range") for _, headers in site.requests] == [None, '"1"', '"1"']
    assert site.sent == len(content)
    assert sorted(path.name for path in kept(tmp_path).parent.iterdir()) == [FILE]


def test_received_bytes_are_kept_for_the_next_run(site, content, tmp_path):
    site.cuts = [1000, 0, 0, 0]
    refused(tmp_path)
    assert part(tmp_path).read_bytes() == content[:1000]
    assert not kept(tmp_path).exists()
    fetch(NAME, root=tmp_path, mirrors={})
    assert kept(tmp_path).read_bytes() == content
    assert site.ranges == [None, *["bytes=1000-"] * 4]
    assert site.sent == len(content)


def test_a_server_that_sends_nothing_is_skipped(site, content, tmp_path):
    site.cuts = [0] * 20
    assert site.address in refused(tmp_path)
    assert len(site.requests) == 1


def test_a_server_without_ranges_sends_everything_again(site, content, tmp_path):
    site.cuts, site.knows_ranges = [1000], False
    fetch(NAME, root=tmp_path, mirrors={})
    assert kept(tmp_path).read_bytes() == content
    assert site.ranges == [None, "bytes=1000-"]
    assert site.sent == 1000 + len(content)


@pytest.mark.parametrize("knows_versions", [True, False])
def test_a_changed_file_is_downloaded_from_its_start(knows_versions, site, content, tmp_path):
    address = f"/{FILE}"
    site.files[address] = bytes(len(content))
    site.cuts, site.knows_versions = [1000, 0, 0, 0], knows_versions
    refused(tmp_path)
    site.files[address], site.etags[address] = content, '"2"'
    fetch(NAME, root=tmp_path, mirrors={})
    assert kept(tmp_path).read_bytes() == content
    again = ["bytes=1000-"] if knows_versions else ["bytes=1000-", None]
    assert site.ranges[4:] == again


@pytest.mark.parametrize("excess", [b"", b"more"])
def test_a_complete_part_is_only_verified_and_a_longer_one_is_discarded(
    excess, site, content, tmp_path
):
    site.cuts = [len(content) - 1, 0, 0, 0]
    refused(tmp_path)
    part(tmp_path).write_bytes(content + excess)
    sent = site.sent
    fetch(NAME, root=tmp_path, mirrors={})
    assert f"bytes={len(content + excess)}-" in site.ranges
    assert kept(tmp_path).read_bytes() == content
    assert site.sent == sent + (len(content) if excess else 0)


def test_a_part_is_not_resumed_from_another_address(site, content, tmp_path):
    site.cuts = [1000, 0, 0, 0]
    refused(tmp_path)
    site.files[f"/mirror/{FILE}"] = content
    fetch(NAME, root=tmp_path, mirrors={NAME: [f"{site.address}/mirror"]})
    assert (site.paths[-1], site.ranges[-1]) == (f"/mirror/{FILE}", None)


@pytest.mark.parametrize(
    "mirror", ["/first", "/first/", f"/first/{FILE}", f"/first/{FILE}?version=3"]
)
def test_mirrors_come_before_the_official_address(mirror, site, content, tmp_path):
    site.files[mirror.rstrip("/") if FILE in mirror else f"/first/{FILE}"] = content
    fetch(NAME, root=tmp_path, mirrors={NAME: [site.address + mirror]})
    assert len(site.paths) == 1
    assert site.paths[0].startswith(f"/first/{FILE}")


def test_wrong_and_missing_files_lead_to_the_next_source(site, content, tmp_path):
    site.files[f"/wrong/{FILE}"] = content[:-1] + b"!"
    mirrors = {NAME: [f"{site.address}/wrong", f"{site.address}/absent"]}
    fetch(NAME, root=tmp_path, mirrors=mirrors)
    assert site.paths == [f"/wrong/{FILE}", f"/absent/{FILE}", f"/{FILE}"]
    assert kept(tmp_path).read_bytes() == content


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"files": 1}', '{"url": 1}', "\x00"])
def test_damaged_records_are_made_again_or_named(damaged, site, content, tmp_path):
    site.cuts = [1000, 0, 0, 0]
    refused(tmp_path)
    part(tmp_path).with_name(f"{FILE}.part.json").write_text(damaged)
    folder = fetch(NAME, root=tmp_path, mirrors={NAME: ["file://[", "http://[", "~nobody", "//"]})
    assert site.ranges[-1] is None
    (folder / "files.json").write_text(damaged)
    assert fetch(NAME, root=tmp_path, mirrors={}) == folder
    assert len(json.loads((folder / "files.json").read_text())["files"]) == 5
    (tmp_path / "digests.json").write_text(damaged)
    (folder / "files.json").unlink()
    if damaged == "{}":
        assert fetch(NAME, root=tmp_path, mirrors={}) == folder
    else:
        assert "digests.json is not valid" in refused(tmp_path)


def test_the_error_lists_every_source_with_its_reason(site, content, tmp_path):
    wrong = content[:-1] + b"!"
    site.files[f"/wrong/{FILE}"] = wrong
    site.statuses[f"/{FILE}"] = 503
    mirrors = [f"{site.address}/wrong", f"{site.address}/absent", str(tmp_path / "no")]
    message = refused(tmp_path, **{NAME: mirrors})
    found, wanted = hashlib.md5(wrong).hexdigest(), hashlib.md5(content).hexdigest()
    assert f"{site.address}/wrong/{FILE}: its digest is md5:{found}, not md5:{wanted}" in message
    assert f"{site.address}/absent/{FILE}: 404 Not Found" in message
    assert f"{tmp_path}/no/{FILE}: no such file" in message
    assert f"{site.address}/{FILE}: 503 Service Unavailable" in message
    assert list(kept(tmp_path).parent.iterdir()) == []
    assert not (tmp_path / NAME).exists()


def test_without_a_network_the_message_says_so(content, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/{FILE}"
        archive = replace(CATALOGUE[NAME].archives[0], urls=(address,))
        monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], archives=(archive,)))
        message = refused(tmp_path)
    assert f"{address}: " in message
    assert "Connection refused" in message


@pytest.mark.parametrize("mirror", ["{}", "file://{}", "{}/" + FILE])
def test_a_folder_is_a_mirror_and_is_not_copied(mirror, site, content, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / FILE).write_bytes(content)
    mirrors = {NAME: [mirror.format(tmp_path / "mirror")]}
    folder = fetch(NAME, root=tmp_path / "root", mirrors=mirrors)
    assert len(list(folder.glob("imagenette2-160/train/*/*.JPEG"))) == 3
    assert site.requests == []
    assert not kept(tmp_path / "root").exists()


def test_a_lost_file_is_restored_from_the_kept_archive(site, content, tmp_path):
    folder = fetch(NAME, root=tmp_path, mirrors={})
    lost = next(folder.glob("imagenette2-160/val/*/*.JPEG"))
    pixels = lost.read_bytes()
    lost.unlink()
    fetch(NAME, root=tmp_path, mirrors={})
    assert lost.read_bytes() == pixels
    assert len(site.requests) == 1


def test_a_damaged_kept_archive_is_downloaded_again(site, content, tmp_path):
    kept(tmp_path).parent.mkdir(parents=True)
    kept(tmp_path).write_bytes(content[:-1] + b"!")
    fetch(NAME, root=tmp_path, mirrors={})
    assert kept(tmp_path).read_bytes() == content


def test_a_file_without_public_digest_is_compared_with_its_first_download(
    site, monkeypatch, tmp_path
):
    first = offer("bsds500", site, monkeypatch)
    fetch("bsds500", root=tmp_path, mirrors={})
    digest = f"sha256:{hashlib.sha256(first).hexdigest()}"
    record = json.loads((tmp_path / "digests.json").read_text())
    assert record == {"bsds500": {"BSR_bsds500.tgz": digest}}
    (tmp_path / "bsds500/BSR/BSDS500/data/images/val/3096.jpg").unlink()
    archive_path(tmp_path, "bsds500", "BSR_bsds500.tgz").unlink()
    site.files["/BSR_bsds500.tgz"] = first + b"\0"
    assert f"not {digest}" in refused(tmp_path, "bsds500")


def test_a_web_page_is_not_an_archive(site, monkeypatch, tmp_path):
    offer("bsds500", site, monkeypatch)
    site.files["/BSR_bsds500.tgz"] = b"<html>Please accept our terms of use.</html>"
    assert "/BSR_bsds500.tgz: it is neither" in refused(tmp_path, "bsds500")
    assert not (tmp_path / "digests.json").exists()


def test_a_set_of_single_files_appears_when_all_are_downloaded(site, monkeypatch, tmp_path):
    names = ("kodim01.png", "kodim02.png")
    archives = tuple(Archive(name, (f"{site.address}/{name}",), unpack="file") for name in names)
    kodak = replace(CATALOGUE["kodak"], archives=archives, members={"kodim[0-2][0-9].png": 2})
    monkeypatch.setitem(CATALOGUE, "kodak", kodak)
    site.files = {f"/{name}": picture(index, "png") for index, name in enumerate(names)}
    site.statuses["/kodim02.png"] = 500
    assert "/kodim02.png: 500" in refused(tmp_path, "kodak")
    assert not (tmp_path / "kodak").exists()
    site.statuses.clear()
    folder = fetch("kodak", root=tmp_path, mirrors={})
    assert [(folder / name).read_bytes() for name in names] == list(site.files.values())
    assert site.paths == ["/kodim01.png", "/kodim02.png", "/kodim02.png"]


def test_a_small_disk_is_noticed_before_the_download(site, content, tmp_path, monkeypatch):
    archive = replace(CATALOGUE[NAME].archives[0], bytes=10**18)
    monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], archives=(archive,)))
    message = refused(tmp_path)
    assert f"free in {tmp_path}, and 2000000000.0 GB" in message
    assert site.requests == []


def test_a_full_disk_keeps_the_received_bytes(site, content, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        """A file on a disk that has room for 1000 bytes."""

        def write(self, piece: bytes) -> int:
            super().write(piece[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "open", FullDisk, raising=False)
    assert "No space left on device" in refused(tmp_path)
    assert part(tmp_path).read_bytes() == content[:1000]
    monkeypatch.delattr(transfer, "open")
    fetch(NAME, root=tmp_path, mirrors={})
    assert site.ranges == [None, "bytes=1000-"]


def test_two_processes_download_a_set_once(site, content, tmp_path, monkeypatch, caplog):
    waits = threading.Event()

    def notice(record: logging.LogRecord) -> bool:
        if record.msg.startswith("waiting"):
            waits.set()
        return True

    monkeypatch.setattr(logging.getLogger("dhl"), "filters", [notice])
    caplog.set_level(logging.INFO, logger="dhl")
    site.before_answer = lambda: waits.wait(20)
    with ThreadPoolExecutor(2) as pool:
        folders = pool.map(lambda _: fetch(NAME, root=tmp_path, mirrors={}), range(2))
        assert list(folders) == [tmp_path / NAME] * 2
    assert waits.is_set()
    assert len(site.requests) == 1


def test_the_receipt_is_the_same_bytes_for_the_same_set(site, content, tmp_path):
    receipts = []
    for root in (tmp_path / "one", tmp_path / "two"):
        fetch(NAME, root=root, mirrors={})
        write_receipt(NAME, root=root, path=root / "receipt.json")
        receipts.append((root / "receipt.json").read_bytes())
    assert receipts[0] == receipts[1]
    receipt = json.loads(receipts[0])
    assert receipt["archives"] == {FILE: f"md5:{hashlib.md5(content).hexdigest()}"}
    assert (receipt["name"], receipt["files"]) == (NAME, 5)


def test_weights_are_compared_with_the_digits_in_their_name(site, monkeypatch, tmp_path):
    weights = b"weights"
    digits = hashlib.sha256(weights).hexdigest()[:8]
    archive = Archive("net.pth", (f"{site.address}/net.pth",), f"sha256:{digits}", unpack="file")
    entry = replace(CATALOGUE["vgg16-imagenet"], archives=(archive,), members={"net.pth": 1})
    monkeypatch.setitem(CATALOGUE, "vgg16-imagenet", entry)
    site.files["/net.pth"] = weights + b"!"
    assert f"not sha256:{digits}" in refused(tmp_path, "vgg16-imagenet")
    site.files["/net.pth"] = weights
    assert (fetch("vgg16-imagenet", root=tmp_path, mirrors={}) / "net.pth").read_bytes() == weights


def test_a_complete_set_that_was_copied_by_hand_is_accepted(site, content, tmp_path):
    made = fetch(NAME, root=tmp_path / "elsewhere", mirrors={})
    (made / "files.json").unlink()
    made.rename(tmp_path / NAME)
    assert fetch(NAME, root=tmp_path, mirrors={}) == tmp_path / NAME
    assert len(site.requests) == 1


def test_a_folder_with_other_files_is_not_changed(site, content, tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.txt").write_text("years of work")
    message = refused(tmp_path)
    assert "0 of 3 files imagenette2-160/train/*/*.JPEG" in message
    assert (tmp_path / NAME / "thesis.txt").read_text() == "years of work"
    assert site.requests == []


def test_wrong_weights_that_were_copied_by_hand_are_refused(tmp_path):
    (tmp_path / "vgg16-imagenet").mkdir()
    (tmp_path / "vgg16-imagenet/vgg16-397923af.pth").write_bytes(b"other weights")
    assert "not sha256:397923af" in refused(tmp_path, "vgg16-imagenet")


def test_a_set_with_an_account_names_its_source_and_its_folder(tmp_path):
    message = refused(tmp_path, "ilsvrc2012")
    assert "no ILSVRC2012_devkit_t12.tar.gz" in message
    assert "https://image-net.org/download-images" in message
    assert f"put ILSVRC2012_devkit_t12.tar.gz into {tmp_path}/archives/ilsvrc2012" in message
    assert "`ilsvrc2012: [/the/folder]`" in message


def test_an_unknown_set_is_named_with_the_known_ones(tmp_path):
    message = refused(tmp_path, "imagenot")
    assert "`imagenot`" in message
    assert "kodak, bsds500, imagenette" in message


def test_the_root_is_the_configurations_else_the_environments_else_datasets(monkeypatch):
    monkeypatch.delenv("DHL_DATA", raising=False)
    config = SimpleNamespace(downloads=SimpleNamespace(root=None))
    assert data_root(config) == Path("datasets")
    monkeypatch.setenv("DHL_DATA", "/big/disk")
    assert data_root(config) == Path("/big/disk")
    config.downloads.root = "/bigger/disk"
    assert data_root(config) == Path("/bigger/disk")
