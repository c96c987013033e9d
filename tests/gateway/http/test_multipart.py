from __future__ import annotations

import pytest

from router.errors import CallerError
from router.gateway.http.multipart import field_of, with_field, without_fields

TYPE = "multipart/form-data; boundary=XX"
FORM = (
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav\r\n\r\n'
    b'RIFF\r\n\r\n--X\x00 name="model"\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="language"\r\n\r\nde\r\n--XX--\r\n'
)


def test_a_field_is_found_beside_files() -> None:
    assert field_of(FORM, TYPE, "model") == "whisper"
    assert field_of(FORM, TYPE, "language") == "de"
    assert field_of(FORM, TYPE, "file") is None
    assert field_of(FORM, 'multipart/form-data; boundary="XX"; charset=utf-8', "model") == "whisper"


def test_only_the_fields_value_is_replaced() -> None:
    changed = with_field(FORM, TYPE, "model", "whisper-large")
    assert changed == FORM.replace(b"\r\nwhisper\r\n", b"\r\nwhisper-large\r\n")


def test_a_field_that_is_not_there_is_put_first() -> None:
    changed = with_field(FORM, TYPE, "absent", "x")
    assert changed.endswith(FORM)
    assert (field_of(changed, TYPE, "absent"), field_of(changed, TYPE, "language")) == ("x", "de")
    assert field_of(with_field(b"--XX--\r\n", TYPE, "model", "x"), TYPE, "model") == "x"


def test_fields_are_removed_and_files_are_not() -> None:
    part = b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\nx\r\n'
    form = part % b"a" + FORM.replace(b"--XX--", part % b"a" + part % b"b" + b"--XX--")
    assert without_fields(form, TYPE, {"a", "b", "file", "absent"}) == FORM
    assert without_fields(FORM, TYPE, {"a", "file"}) is FORM
    assert without_fields(part % b"a" + b"--XX--\r\n", TYPE, {"a"}) == b"--XX--\r\n"


@pytest.mark.parametrize(("body", "content_type"), [(FORM, "multipart/form-data"), (b"{}", TYPE), (b"", TYPE)])
def test_what_is_no_form_is_the_clients_fault(body: bytes, content_type: str) -> None:
    with pytest.raises(CallerError):
        field_of(body, content_type, "model")


def test_a_form_without_an_end_has_no_fields_after_it() -> None:
    assert field_of(FORM[: FORM.index(b"whisper") + 4], TYPE, "model") is None


def test_a_head_of_many_dispositions_is_read_in_one_pass() -> None:
    body = b"--XX\r\n" + b"content-disposition:" * 100_000 + b"\r\n\r\nx\r\n--XX--"
    assert field_of(body, "multipart/form-data; boundary=XX", "model") is None
