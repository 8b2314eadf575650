"""Types of the fields of a design: what a name, a number, a sentence may be."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

STRICT = ConfigDict(extra="forbid")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e9, le=1e9)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,128}$")]
