"""What a switch refuses, by name: OpenFlow 1.4's error types and codes, and those of Open vSwitch's extensions."""

from __future__ import annotations

from dataclasses import dataclass

_EXPERIMENTER = 0xFFFF
_NICIRA = 0x00002320
_ONF = 0x4F4E4600

# Type -> prefix of its codes' names, and the codes from 0 on. OpenFlow 1.4.1, section 7.5.4.
_CODES: dict[int, tuple[str, str]] = {
    0: ("OFPHFC", "INCOMPATIBLE EPERM"),
    1: (
        "OFPBRC",
        (
            "BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN "
            "BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW"
        ),
    ),
    2: (
        "OFPBAC",
        (
            "BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE BAD_OUT_GROUP "
            "MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN BAD_SET_ARGUMENT"
        ),
    ),
    3: (
        "OFPBIC",
        (
            "UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK BAD_EXPERIMENTER BAD_EXP_TYPE BAD_LEN "
            "EPERM DUP_INST"
        ),
    ),
    4: (
        "OFPBMC",
        (
            "BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD BAD_VALUE BAD_MASK BAD_PREREQ "
            "DUP_FIELD EPERM"
        ),
    ),
    5: (
        "OFPFMFC",
        "UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS CANT_SYNC BAD_PRIORITY",
    ),
    6: (
        "OFPGMFC",
        (
            "GROUP_EXISTS INVALID_GROUP WEIGHT_UNSUPPORTED OUT_OF_GROUPS OUT_OF_BUCKETS CHAINING_UNSUPPORTED WATCH_UNSUPPORTED "
            "LOOP UNKNOWN_GROUP CHAINED_GROUP BAD_TYPE BAD_COMMAND BAD_BUCKET BAD_WATCH EPERM"
        ),
    ),
    7: ("OFPPMFC", "BAD_PORT BAD_HW_ADDR BAD_CONFIG BAD_ADVERTISE EPERM"),
    8: ("OFPTMFC", "BAD_TABLE BAD_CONFIG EPERM"),
    9: ("OFPQOFC", "BAD_PORT BAD_QUEUE EPERM"),
    10: ("OFPSCFC", "BAD_FLAGS BAD_LEN EPERM"),
    11: ("OFPRRFC", "STALE UNSUP BAD_ROLE"),
    12: (
        "OFPMMFC",
        (
            "UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE BAD_BURST BAD_BAND BAD_BAND_VALUE "
            "OUT_OF_METERS OUT_OF_BANDS"
        ),
    ),
    13: ("OFPTFFC", "BAD_TABLE BAD_METADATA BAD_TYPE BAD_LEN BAD_ARGUMENT EPERM"),
    14: ("OFPBPC", "BAD_TYPE BAD_LEN BAD_VALUE TOO_MANY DUP_TYPE BAD_EXPERIMENTER BAD_EXP_TYPE BAD_EXP_VALUE EPERM"),
    15: ("OFPACFC", "INVALID UNSUPPORTED EPERM"),
    16: (
        "OFPMOFC",
        "UNKNOWN MONITOR_EXISTS INVALID_MONITOR UNKNOWN_MONITOR BAD_COMMAND BAD_FLAGS BAD_TABLE_ID BAD_OUT",
    ),
    17: (
        "OFPBFC",
        (
            "UNKNOWN EPERM BAD_ID BUNDLE_EXIST BUNDLE_CLOSED OUT_OF_BUNDLES BAD_TYPE BAD_FLAGS MSG_BAD_LEN MSG_BAD_XID MSG_UNSUP "
            "MSG_CONFLICT MSG_TOO_MANY MSG_FAILED TIMEOUT BUNDLE_IN_PROGRESS"
        ),
    ),
}

# Experimenter errors carry (experimenter, number) in place of a code (Open vSwitch, ofp-errors.h).
_EXTENSIONS: dict[tuple[int, int], str] = {
    (_NICIRA, 2): "NXBRC_NXM_INVALID",
    (_NICIRA, 3): "NXBRC_NXM_BAD_TYPE",
    (_NICIRA, 4): "NXBRC_MUST_BE_ZERO",
    (_NICIRA, 5): "NXBRC_BAD_REASON",
    (_NICIRA, 9): "NXBRC_FM_BAD_EVENT",
    (_NICIRA, 10): "NXBRC_UNENCODABLE_ERROR",
    (_NICIRA, 11): "NXBAC_MUST_BE_ZERO",
    (_NICIRA, 12): "NXFMFC_HARDWARE",
    (_NICIRA, 13): "NXFMFC_BAD_TABLE_ID",
    (_NICIRA, 15): "NXBAC_BAD_CONJUNCTION",
    (_NICIRA, 22): "OFPBFC_BAD_VERSION",
    (_NICIRA, 34): "NXR_NOT_SUPPORTED",
    (_NICIRA, 35): "NXR_STALE",
    (_ONF, 4250): "OFPBAC_BAD_SET_MASK",
}

MESSAGE_FAILED = "OFPBFC_MSG_FAILED"


@dataclass(frozen=True, slots=True)
class SwitchError:
    """An error message: which request it answers, and why it was refused. `data` is the start of the request."""

    xid: int
    type: int
    code: int
    experimenter: int | None
    data: bytes

    @property
    def name(self) -> str:
        """The error's name in the standard, or its numbers where it has none.

        >>> SwitchError(1, 4, 9, None, b"").name
        'OFPBMC_BAD_PREREQ'
        """
        if self.experimenter is not None:
            known = _EXTENSIONS.get((self.experimenter, self.code))
            return known or f"experimenter error {self.experimenter:#x}/{self.code}"
        prefix, codes = _CODES.get(self.type, ("", ""))
        names = codes.split()
        return f"{prefix}_{names[self.code]}" if self.code < len(names) else f"error {self.type}/{self.code}"


def is_experimenter(error_type: int) -> bool:
    """Tell whether an error of this type carries an experimenter's number in place of a code."""
    return error_type == _EXPERIMENTER
