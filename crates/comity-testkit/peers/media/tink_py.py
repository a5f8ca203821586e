"""Media format 2 (docs/PROTOCOL.md §10) against PyPI tink, both directions; one JSON object a line for each case.

Our side is the example `media_peer`, run once per request; its path is in COMITY_MEDIA_PEER.
"""

import io
import json
import os
import subprocess
import tempfile
import traceback

import tink
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

streaming_aead.register()

KINDS = ("image", "video", "gif", "audio", "ptt", "document", "sticker")
SEGMENT, TAG, HEADER = 65536, 16, 40
EDGE = SEGMENT - TAG
LENGTHS = (0, 1, 4096, EDGE - HEADER - 1, EDGE - HEADER, EDGE - HEADER + 1, 2 * EDGE - HEADER, 3 * EDGE + 1000)
LARGE = (64 << 20) + 12345


def primitive(key, file_length):
    """Tink's streaming AEAD under a media key."""
    size = 1 << 20 if file_length > 64 << 20 else SEGMENT
    params = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=size, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    value = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=params, key_value=key)
    data = tink_pb2.KeyData(
        type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
        value=value.SerializeToString(),
        key_material_type=tink_pb2.KeyData.SYMMETRIC,
    )
    entry = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[entry]).SerializeToString()
    return cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset)).primitive(streaming_aead.StreamingAead)


def aad(kind):
    return kind.encode() + b"\x02"


def sealed_by_tink(kind, key, plain):
    class Kept(io.BytesIO):
        def close(self):  # tink closes what it writes to
            self.kept = self.getvalue()
            super().close()

    out = Kept()
    with primitive(key, len(plain)).new_encrypting_stream(out, aad(kind)) as stream:
        stream.write(plain)
    return out.kept


def opened_by_tink(kind, key, sealed, file_length):
    with primitive(key, file_length).new_decrypting_stream(io.BytesIO(sealed), aad(kind)) as stream:
        return stream.read()


def ours(directory, cmd, kind, key, given, **more):
    source, target = (os.path.join(directory, name) for name in ("in", "out"))
    with open(source, "wb") as file:
        file.write(given)
    request = {"cmd": cmd, "kind": kind, "key": key.hex(), "in": source, "out": target, **more}
    done = subprocess.run([os.environ["COMITY_MEDIA_PEER"], json.dumps(request)], check=True, stdout=subprocess.PIPE)
    with open(target, "rb") as file:
        return json.loads(done.stdout), file.read()


def refused(call):
    try:
        call()
    except (tink.TinkError, OSError):
        return
    raise AssertionError("a damaged file was opened")


def files():
    for kind in KINDS:
        for length in LENGTHS:
            yield kind, length
    yield "video", LARGE


def ours_to_them(directory):
    for kind, length in files():
        key, plain = os.urandom(32), os.urandom(length)
        facts, sealed = ours(directory, "encrypt2", kind, key, plain)
        assert facts["encrypted_length"] == len(sealed), (kind, length)
        assert opened_by_tink(kind, key, sealed, length) == plain, (kind, length)
        if length <= EDGE:
            other = "image" if kind != "image" else "video"
            refused(lambda: opened_by_tink(other, key, sealed, length))
            refused(lambda: opened_by_tink(kind, key, sealed[:-1], length))


def theirs_to_us(directory):
    for kind, length in files():
        key, plain = os.urandom(32), os.urandom(length)
        sealed = sealed_by_tink(kind, key, plain)
        answer, opened = ours(directory, "decrypt2", kind, key, sealed, file_length=length)
        assert answer == {"ok": True} and opened == plain, (kind, length, answer)
        answer, opened = ours(directory, "segments2", kind, key, sealed, file_length=length)
        assert answer["segments"] >= 1 and opened == plain, (kind, length, answer)
        if length < LARGE:
            flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
            for damaged in (sealed[:-1], sealed + b"x", flipped):
                answer, opened = ours(directory, "decrypt2", kind, key, damaged, file_length=length)
                assert "error" in answer and len(opened) < max(length, 1), (kind, length, answer)


for name, case in {"format2-ours-to-them": ours_to_them, "format2-theirs-to-us": theirs_to_us}.items():
    outcome = {"result": "ok", "reason": ""}
    try:
        with tempfile.TemporaryDirectory(prefix="format2-", dir=".") as directory:
            case(directory)
    except Exception as error:
        traceback.print_exc()
        outcome = {"result": "fail", "reason": str(error).split("\n")[0]}
    print(json.dumps({"peer": "tink-py", "case": name, **outcome}), flush=True)
