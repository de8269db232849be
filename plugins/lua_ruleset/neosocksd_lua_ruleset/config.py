"""The settings of the Lua ruleset, section ``[lua_ruleset]``."""

from typing import Annotated, Literal

from pydantic import Field

from neosocksd_core import Option, Section


class LuaRulesetSettings(Section):
    """A ruleset decides about every request. Without one this plugin does nothing."""

    ruleset: Annotated[str, Option(("-r", "--ruleset"), flat="ruleset", metavar="FILE")] = Field(
        default="",
        description="route requests by this Lua script, plain or gzip-compressed",
    )
    traceback: Annotated[bool, Option(("--traceback",), flat="traceback")] = Field(
        default=False,
        description="log Lua tracebacks of errors",
    )
    memlimit: Annotated[int, Option(("--memlimit",), flat="memlimit", metavar="MIB")] = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="above so many MiB of Lua memory a collection is forced, nothing is refused; 0 is off",
    )
    hard_memlimit: Annotated[int, Option(metavar="MIB")] = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="a script that wants more than so many MiB fails with a Lua error; 0 is off",
    )
    time_limit: Annotated[float, Option(metavar="S")] = Field(
        default=2.0,
        ge=0,
        le=86400,
        description="longest time in seconds that a callback may compute without waiting; 0 is off",
    )
    load_time_limit: Annotated[float, Option(metavar="S")] = Field(
        default=30.0,
        ge=0,
        le=86400,
        description="the same for loading a script; 0 is off",
    )
    lua: Literal["5.3", "5.4", "5.5"] = Field(
        default="5.4",
        description="version of the Lua language",
    )
    sandbox: bool = Field(
        default=False,
        description="take away what reaches outside of the script: files, processes, most of the debug library",
    )
    dump_config: Annotated[bool, Option(("--dump-config",))] = Field(
        default=False,
        description="print the configuration in force as a Lua chunk, and exit",
    )
