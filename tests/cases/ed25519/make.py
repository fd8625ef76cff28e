"""Writes the case files of this folder from what their authors publish.

    python tests/cases/ed25519/make.py WYCHEPROOF_ED25519_TEST_JSON SIGN_INPUT

The first is testvectors_v1/ed25519_test.json of Wycheproof (Apache-2.0), the second sign.input of the ed25519 software
(public domain; it also lies in the package cryptography-vectors, asymmetric/Ed25519/).
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def wycheproof(source: Path) -> list[dict[str, object]]:
    return [
        {
            "id": test["tcId"],
            "about": test["comment"] or ", ".join(test["flags"]),
            "key": group["publicKey"]["pk"],
            "message": test["msg"],
            "signature": test["sig"],
            "good": test["result"] == "valid",
        }
        for group in json.loads(source.read_text())["testGroups"]
        for test in group["tests"]
    ]


def sign_input(source: Path) -> list[dict[str, object]]:
    """Every sixteenth of its 1,024 lines, the first three and the last: those are four of RFC 8032's five examples."""
    found: list[dict[str, object]] = []
    lines = source.read_text().splitlines()
    for number, line in enumerate(lines):
        if number < 3 or number % 16 == 0 or number == len(lines) - 1:
            secret, key, message, signed = line.split(":")[:4]
            assert secret.endswith(key), "the secret half is followed by the public one"
            found.append({"id": number + 1, "key": key, "message": message, "signature": signed[:128]})
    return found


def write(name: str, origin: str, cases: list[dict[str, object]]) -> None:
    rows = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    (FOLDER / name).write_text(f'{{"origin": {json.dumps(origin)}, "cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    write("wycheproof.json", "Wycheproof, testvectors_v1/ed25519_test.json, Apache-2.0", wycheproof(Path(sys.argv[1])))
    write("sign-input.json", "sign.input of the ed25519 software, public domain", sign_input(Path(sys.argv[2])))
