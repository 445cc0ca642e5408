"""The download, against a server on this machine that breaks off."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from unlabeled.errors import DataError
from unlabeled.sources.download import fetch_stl10

CONTENT = np.random.default_rng(0).bytes(5_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    breaks = 0  # how many answers end in the middle
    ranges = True  # whether it knows Range
    status = 200
    encoding = None  # as what it declares the archive

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        given = self.headers.get("Range")
        server.asked.append(given)
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given and server.ranges else 0
        if server.status != 200 or start >= len(CONTENT):
            self.send_response(server.status if server.status != 200 else 416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT)
        if server.breaks:
            server.breaks -= 1
            end = start + (len(CONTENT) - start) // 2
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(server, folder, md5=MD5):
    return fetch_stl10(folder, url=f"http://127.0.0.1:{server.server_address[1]}/x.tar.gz", md5=md5)


def test_a_download_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    server.breaks = 2
    path = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked[0] is None
    assert len(server.asked) == 3
    assert all(asked.startswith("bytes=") and int(asked[6:-1]) > 0 for asked in server.asked[1:])
    assert [entry.name for entry in tmp_path.iterdir()] == ["stl10_binary.tar.gz"]


def test_a_part_of_an_earlier_session_is_used_and_a_whole_file_not_fetched_again(server, tmp_path):
    (tmp_path / "stl10_binary.tar.gz.part").write_bytes(CONTENT[:3_000_000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=3000000-"]
    fetch(server, tmp_path)
    assert len(server.asked) == 1


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "stl10_binary.tar.gz.part").write_bytes(b"old" * 1000)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_the_file_not_kept(server, tmp_path):
    with pytest.raises(DataError, match=r"what was downloaded is damaged .*--data stl10:PATH"):
        fetch(server, tmp_path, md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_refuses_is_said_in_a_line(server, tmp_path):
    server.status = 403
    with pytest.raises(DataError, match=r"can't be downloaded \(403 Client Error.*--data stl10:PATH"):
        fetch(server, tmp_path)


def test_no_server_is_said_in_a_line(tmp_path):
    with pytest.raises(DataError, match="can't be downloaded"):
        fetch_stl10(tmp_path, url="http://127.0.0.1:9/x.tar.gz", md5=MD5)


def test_an_archive_that_a_server_calls_an_encoding_comes_as_it_is(server, tmp_path):
    server.encoding = "x-gzip"
    assert fetch(server, tmp_path).read_bytes() == CONTENT
