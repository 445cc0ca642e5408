"""Damaged and hostile input: the package's own files, images, archives, configurations. No wrong answer without a word, one line else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import struct
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reliability.trials import SMALL, Ended, Found, answer, call_main, copies, finished_job, in_child, write_photos

_ODD: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**63), 10**30, 1e308, -0.0, "", "x", "NaN", "../../etc/passwd", "\x00", "\ud800", [], [[]], {},
    {"a": 1}, [1, "a", None], float("nan"), float("inf"), "<script>", "\x1b[31m", "1e5",
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Change bytes as disks, networks and editors do."""
    place = rng.randrange(len(content) + 1)
    some = rng.randbytes(rng.choice([1, 4, 16]))
    kind = rng.choice(["bit", "bit", "cut", "empty", "zeros", "noise", "twice", "more", "over"])
    if kind == "bit" and content:
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 8])):
            changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    return {
        "cut": content[:place], "empty": b"", "zeros": bytes(len(content)), "noise": rng.randbytes(len(content)),
        "twice": content + content, "more": content[:place] + some + content[place:],
    }.get(kind, content[:place] + some + content[place + len(some) :])  # fmt: skip


def altered(tree: Any, rng: random.Random) -> Any:
    """Change one place of a JSON tree: another kind of value, a near one, none, or one too many."""
    tree, places = json.loads(json.dumps(tree)), []

    def walk(node: Any) -> None:
        inside = node.items() if isinstance(node, dict) else enumerate(node[:30]) if isinstance(node, list) else ()
        for name, value in inside:
            places.append((node, name))
            walk(value)

    walk(tree)
    if not places:
        return rng.choice(_ODD)
    node, name = rng.choice(places)
    kind = rng.choice(["odd", "odd", "none", "more", "near"])
    if kind == "none":
        del node[name]
    elif kind == "more" and isinstance(node, dict):
        node["surplus"] = rng.choice(_ODD)
    elif kind == "near" and isinstance(node[name], (int, float)) and not isinstance(node[name], bool):
        node[name] = rng.choice([node[name] + 1, -node[name], node[name] * 1000, str(node[name])])
    else:
        node[name] = rng.choice(_ODD)
    return tree


def damage_file(path: Path, rng: random.Random) -> bool:
    """Damage a file of the package's own in a way that suits it; tell whether it differs now."""
    content = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.6:
        changed = json.dumps(altered(json.loads(content), rng)).encode()
    elif path.suffix == ".jsonl" and rng.random() < 0.6:
        rows = [json.loads(line) for line in content.splitlines()]
        rows[place] = altered(rows[place := rng.randrange(len(rows))], rng) if rows else {}
        changed = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    elif path.suffix == ".safetensors" and rng.random() < 0.5:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.dumps(altered(json.loads(content[8 : 8 + length]), rng)).encode()
        changed = struct.pack("<Q", len(header)) + header + content[8 + length :]
    else:
        changed = damaged(content, rng)
    path.write_bytes(changed)
    return changed != content


def own_files(work: Path, rng: random.Random, trials: int) -> Found:
    """Damage one file of a finished job, its cache, or an interrupted job; the same command, or the report, must not tell anything else."""
    found = Found()
    job, cache = finished_job(work, forked=True)
    wanted = answer(job)
    half = _interrupted(work, cache)
    for _ in range(trials):
        kind = rng.choice(["result", "result", "report", "store", "weights", "checkpoint"])
        source = half if kind == "checkpoint" else job
        with copies(work, source, cache) as (folder, stores):
            files = _files_of(kind, folder, stores)
            path = rng.choice(files)
            if kind in ("weights", "checkpoint", "store"):
                (folder / "result.json").unlink(missing_ok=True)
            if kind == "weights":  # what stands on it is made anew from it
                for run in (folder / "runs").glob("autoencoder-*"):
                    shutil.rmtree(run)
            if not damage_file(path, rng):
                continue
            command = ["report", str(folder)] if kind == "report" else [*SMALL, "--out", str(folder)]
            ended = in_child(call_main(command), work, env={"UNLABELED_CACHE": str(stores)})
            fault = ended.complaint()
            if not fault and kind != "report" and ended.status == 0 and answer(folder) != wanted:
                fault = "another answer without a word"
            found.count(f"{kind} {path.relative_to(path.parents[2])}: {fault}" if fault else None)
    return found


def _files_of(kind: str, folder: Path, stores: Path) -> list[Path]:
    if kind == "store":
        return [path for path in stores.rglob("*") if path.is_file() and "kernels" not in path.parts]
    if kind == "weights":
        return list(folder.glob("runs/autoencoder/*/weights.safetensors"))
    if kind == "checkpoint":
        return list(folder.rglob("checkpoint.safetensors"))
    return [path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl", ".npz")]


def _interrupted(work: Path, cache: Path) -> Path:
    """Return the folder of a job that was killed in its autoencoder's training."""
    folder = work / "half"
    if not folder.exists():

        def call() -> None:
            from unlabeled import training

            save = training._Training.save

            def save_and_die(self: Any, place: Path) -> None:
                save(self, place)
                os._exit(9)

            training._Training.save = save_and_die  # type: ignore[method-assign]
            call_main([*SMALL, "--out", str(folder)])()

        ended = in_child(call, work, env={"UNLABELED_CACHE": str(cache)})
        assert ended.status == 9, ended.err
    return folder


def images(work: Path, rng: random.Random, trials: int) -> Found:
    """Put damaged and hostile files among the images."""
    found = Found()
    base = write_photos(work / "photos")
    shapes = _pictures(work / "pictures")
    hostile = _hostile()
    names = [*hostile, *[""] * max(0, trials - len(hostile))]
    rng.shuffle(names)
    for name in names[:trials]:
        with copies(work, base) as (root,):
            where = root / rng.choice(["unlabeled", "unlabeled", "train/cat", "test/dog"])
            if name:
                hostile[name](where)
            else:
                path = rng.choice(shapes)
                (where / path.name).write_bytes(damaged(path.read_bytes(), rng))
            ended = _show(work, root)
            found.count(f"{name or path.name} in {where.name}: {ended.complaint()}" if ended.complaint() else None)
    return found


def _show(work: Path, root: Path) -> Ended:
    command = ["data", "show", "--data", f"folder:{root}", "--side", "8"]
    # Cold: what is in the cache is not read again.
    return in_child(call_main(command), work, env={"UNLABELED_CACHE": str(root.parent / "cache")}, gigabytes=3)


def _pictures(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 255, (21, 33, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    ways: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("a.jpg", image, {}), ("b.jpg", image, {"progressive": True}), ("c.jpg", image.convert("CMYK"), {}), ("d.png", image, {}),
        ("e.png", image.convert("P"), {}), ("f.png", Image.fromarray(noise[..., 0].astype(np.uint16) * 100), {}),
        ("g.png", image.convert("RGBA"), {}), ("h.webp", image, {}), ("i.tif", image, {"compression": "tiff_lzw"}), ("j.gif", image, {}),
        ("k.bmp", image, {}), ("l.ppm", image, {}), ("m.tif", image, {"compression": "jpeg"}), ("n.jp2", image, {}), ("o.tga", image, {}),
    ]  # fmt: skip
    for name, picture, options in ways:
        picture.save(folder / name, **options)
    return sorted(folder.iterdir())


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(data, 1)) + _chunk(b"IEND", b"")
    )


def _hostile() -> dict[str, Callable[[Path], object]]:
    """Return what can be put into a folder to its reader's harm."""

    def hole(path: Path, head: bytes) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(20 << 30)

    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    return {
        "a pipe": lambda at: os.mkfifo(at / "pipe.png"),
        "a device": lambda at: (at / "zero.jpg").symlink_to("/dev/zero"),
        "a link to nothing": lambda at: (at / "gone.png").symlink_to("nothing"),
        "a link to itself": lambda at: (at / "self.png").symlink_to(at / "self.png"),
        "a folder in itself": lambda at: (at / "circle").symlink_to(at),
        "a folder called .png": lambda at: (at / "folder.png").mkdir(),
        "a hole called .jpg": lambda at: hole(at / "hole.jpg", b"\xff\xd8\xff\xe0"),
        "a hole called .png": lambda at: hole(at / "hole.png", b"\x89PNG\r\n\x1a\n"),
        "PostScript called .png": lambda at: (at / "eps.png").write_bytes(eps),
        "a hundred megapixels": lambda at: (at / "big.png").write_bytes(
            _png(9999, 9999, 8, 6, bytes(9999 * (1 + 4 * 9999)))
        ),
        "more megapixels": lambda at: (at / "bigger.png").write_bytes(_png(2**31 - 1, 2**31 - 1, 8, 2, bytes(99))),
        "a long line": lambda at: (at / "line.png").write_bytes(_png(1, 30_000_000, 8, 0, bytes(60_000_000))),
        "a name of bytes": lambda at: (at / os.fsdecode(b"caf\xe9.png")).write_bytes(b""),
        "a name of controls": lambda at: (at / "\x1b[2Jx\nerror: forged.png").write_bytes(b""),
        "a name that turns": lambda at: (at / "a\u202egnp.exe.png").write_bytes(b""),
        "thumbnails of a storage box": lambda at: (at / "@eaDir" / "x").mkdir(parents=True),
        "another kind of file": lambda at: (at / "clip.mov").write_bytes(b"x"),
    }


def archives(work: Path, rng: random.Random, trials: int) -> Found:
    """Damage STL-10's files and archives, and put hostile members into them."""
    found = Found()
    base = work / "stl10_binary"
    _write_stl10(base)
    whole = {mode: _packed(base, mode) for mode in ("w", "w:gz", "w:xz")}
    for number in range(trials):
        with copies(work, base) as (folder,):
            source = folder
            if number % 3 == 0:
                path = rng.choice(sorted(folder.iterdir()))
                path.write_bytes(damaged(path.read_bytes(), rng))
            elif number % 3 == 1:
                source = folder.parent / "a.tar"
                source.write_bytes(damaged(whole[rng.choice(list(whole))], rng))
            else:
                source = folder.parent / "a.tar"
                source.write_bytes(_hostile_archive(base, rng))
            command = ["data", "show", "--data", f"stl10:{source}", "--side", "8"]
            ended = in_child(
                call_main(command), work, env={"UNLABELED_CACHE": str(folder.parent / "cache")}, gigabytes=3
            )
            outside = [str(path) for path in work.parent.glob("evil*")]
            fault = ended.complaint() or ("wrote outside: " + str(outside) if outside else "")
            found.count(f"{source.name} {number}: {fault}" if fault else None)
    return found


def _write_stl10(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0)
    for name, n in (("train", 20), ("test", 10), ("unlabeled", 15)):
        (folder / f"{name}_X.bin").write_bytes(noise.integers(0, 255, n * 27648, dtype=np.uint8).tobytes())
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes(bytes(1 + k % 10 for k in range(n)))
    (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, range(k, 20, 2))) + "\n" for k in range(2)))


def _packed(folder: Path, mode: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        archive.add(folder, "stl10_binary")
    return content.getvalue()


def _hostile_archive(base: Path, rng: random.Random) -> bytes:
    name = rng.choice(["train_y.bin", "fold_indices.txt", "class_names.txt", "train_X.bin"])
    member = tarfile.TarInfo(rng.choice([f"stl10_binary/{name}", f"../../../evil{name}", f"/tmp/evil/{name}"]))
    member.type = rng.choice(
        [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S"]
    )
    member.linkname = "/etc/passwd" if member.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    member.size = 30 if member.type in (tarfile.REGTYPE, b"S") else 0
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if member.type == b"S":  # a file with holes, that says it is huge
        header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
        header[482:495] = b"\0" + bytes([0x80]) + (rng.choice([10**9, 2**62])).to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + (bytes([1]) * 30 + bytes(482) if member.size else b"") + _packed(base, "w")


def configurations(work: Path, rng: random.Random, trials: int) -> Found:
    """Give options and TOML files with wrong, odd and unknown values; nothing is run."""
    from unlabeled.config.names import option_names

    found, names = Found(), option_names()
    words = ["0", "-1", "3", "1e9", "nan", "inf", "1e400", "", "x", "true", "9" * 30, "0.5", "1 2", "~nobody_such/x", "é", "\x1b[31m",
             "a\nb", "[1]", "cuda:99", "folder:", "stl10:/etc/passwd", "48x64", "2147483648", "--", "\x00"]  # fmt: skip
    values = ["0", "-1", "2.5", "nan", "inf", "true", '"x"', "[]", "[1, 2]", '[1, "a"]', "{}", "{a=1}", "1979-05-27", '"\\u0000"',
              '"48x64"', '"~nobody_such/x"', "{training=5}", "[" * 60 + "]" * 60, '"\\u001B[31m\\nx"']  # fmt: skip

    def look(config: Any) -> None:
        _ = config.folder, config.data_name, config.pixels

    def only_resolved(arguments: list[str]) -> Callable[[], None]:
        def call() -> None:
            from unlabeled import cli

            cli._run = look  # type: ignore[assignment]
            call_main(arguments)()

        return call

    for number in range(trials):
        name = rng.choice(names)
        if rng.random() < 0.15:
            name = name.rpartition(".")[0] + rng.choice([".x", "epochs", ""])
        if number % 2:
            arguments = ["run", f"--{name}", rng.choice(words)]
        else:
            *above, last = name.replace("-", "_").split(".")
            text = (f"[{'.'.join(above)}]\n" if above else "") + f"{last or 'x'} = {rng.choice(values)}\n"
            content = text.encode()
            (work / "study.toml").write_bytes(damaged(content, rng) if rng.random() < 0.2 else content)
            arguments = ["run", "--config", str(work / "study.toml")]
        ended = in_child(only_resolved(arguments), work, env={"UNLABELED_CACHE": str(work / "cache")})
        found.count(f"{arguments}: {ended.complaint()}" if ended.complaint() else None)
    return found


PARTS = {"own files": own_files, "images": images, "archives": archives, "configurations": configurations}


def run(work: Path, *, seed: int, seconds: float = 1e9, trials: int = 10**6) -> Found:
    """Try the parts by turns until the time is up, or so many trials are done."""
    rng, whole, began = random.Random(seed), Found(), time.monotonic()
    batch = 12
    while time.monotonic() - began < seconds and whole.tried < trials:
        for name, part in PARTS.items():
            place = work / hashlib.sha256(name.encode()).hexdigest()[:8]
            place.mkdir(parents=True, exist_ok=True)
            found = part(place, rng, min(batch, max(1, trials // len(PARTS))))
            whole.tried += found.tried
            whole.faults += found.faults
            if time.monotonic() - began > seconds:
                break
    return whole
