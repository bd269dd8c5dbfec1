"""Every option, declared once: flag, setting, variable, help, bounds, and whose it is.

A declaration makes the rest: the commands' parameter, the entry of the settings file and its
template, the variable, the journal's entry, and the line in docs/commands.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from claude_batch.config.declaration import (
    Choice,
    Declared,
    File,
    Fraction,
    JsonObject,
    Names,
    Number,
    Owner,
    Place,
    StoreUrl,
    Switch,
    Text,
    Time,
    declarations,
    option,
    seconds,
)
from claude_batch.core.model.requests import UNFINISHED

Tier = Literal["start", "build", "scale"]
Mode = Literal["live", "batch", "auto"]
InputFormat = Literal["jsonl", "json", "csv", "tsv", "txt", "parquet", "xlsx"]

PROMPTS = "What is asked"
ROWS = "Input files"
RESULTS = "Results"
HOSTS = "Many hosts"
MODE = "Live or batch"
PACE = "Limits and pace"
MONEY = "Money"
CACHING = "Caching"
FAILURES = "When things go wrong"
SANDBOX = "Sandbox"
WATCHING = "Watching"
SCREEN = "Settings and screen"

RUNS = ("run", "resume")
TABLES = (*RUNS, "results")
INPUT = ("run", "check", "estimate")
ROWS_CHOSEN = (*RUNS, "check", "estimate")
ADJUSTED = (*RUNS, "adjust")

RETRYING = ("retry_errored", "retry_degraded", "retry_stop")
OVERRIDING = ("model", "max_tokens", "drop")
"""What a retry may set for all that is retried, whatever lines and run say."""

WITHOUT_BATCHES = "in live mode"
WITH_SANDBOX = "with --sandbox: each program simulates an API of its own"
WITHOUT_CACHE = "without --cache"
WITHOUT_METRICS = "without --metrics-port"
WITHOUT_TABLE = "without a table (-o FILE.csv, .tsv, .parquet or .xlsx)"


run_option = partial(option, commands=RUNS, owner=Owner.RUN)
run_switch = partial(
    option, Switch(), commands=RUNS, owner=Owner.COMMAND, default=False, variable=False
)
folder_option = partial(option, commands=RUNS, group=HOSTS, owner=Owner.COMMAND, variable=False)
prompt_option = partial(option, commands=INPUT, group=PROMPTS, owner=Owner.RESULTS, variable=False)
row_option = partial(option, commands=INPUT, group=ROWS, owner=Owner.RESULTS, variable=False)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a command can be given by flag, variable or [defaults]. None: not given.

    What has a `sample` is also a setting; what has no `group` has no flag.
    """

    model: str | None = option(
        Text(empty=False),
        "Model for lines that name none; in a retry for all that is retried.",
        "ID",
        commands=(*RUNS, "check", "estimate"),
        group=PROMPTS,
        owner=Owner.RESULTS,
        sample='"claude-haiku-5-5"',
    )
    max_tokens: int | None = option(
        Number(low=1, high=1_000_000_000, whole=True),
        "max_tokens for lines that set none; in a retry for all that is retried.",
        "N",
        commands=(*RUNS, "check", "estimate"),
        group=PROMPTS,
        owner=Owner.RESULTS,
        sample="1024",
    )
    prompt: str | None = prompt_option(
        Text(empty=False),
        "Prompt of every row, with {{column}} placeholders.",
        "TEXT",
    )
    prompt_file: Path | None = option(
        File(),
        "The same, from a file.",
        "FILE",
        commands=INPUT,
        group=PROMPTS,
        owner=Owner.COMMAND,
        variable=False,
    )
    prompt_column: str | None = prompt_option(
        Text(empty=False), "Column that is the prompt.", "NAME"
    )
    system: str | None = option(
        Text(),
        "System prompt for lines that have none.",
        "TEXT",
        commands=("run", "check", "estimate"),
        group=PROMPTS,
        owner=Owner.RESULTS,
        sample='"Answer in one sentence."',
    )
    system_file: Path | None = option(
        File(),
        "The same, from a file.",
        "FILE",
        commands=INPUT,
        group=PROMPTS,
        owner=Owner.COMMAND,
        variable=False,
    )
    params: str | None = prompt_option(
        JsonObject(),
        "Messages params for requests that do not set them.",
        "JSON|FILE",
    )
    schema: str | None = prompt_option(
        JsonObject(),
        "JSON Schema for all answers; each is checked when it arrives.",
        "FILE",
    )
    drop: tuple[str, ...] = option(
        Names(),
        "Leave a param out of every request, or of all that is retried; repeatable.",
        "NAME",
        commands=(*RUNS, "check", "estimate"),
        group=PROMPTS,
        owner=Owner.RESULTS,
        default=(),
        variable=False,
    )
    attach: tuple[str, ...] = prompt_option(
        Names(),
        "Column with a path or URL of a picture or PDF; repeatable.",
        "NAME",
        default=(),
    )
    id_column: str | None = row_option(
        Text(empty=False),
        "Column that becomes custom_id; none: requests are called by their lines.",
        "NAME|none",
        shown="custom_id, else a unique id",
    )
    input_format: InputFormat | None = row_option(
        Choice("jsonl", "json", "csv", "tsv", "txt", "parquet", "xlsx"),
        "What PROMPTS is.",
        "jsonl|json|csv|tsv|txt|parquet|xlsx",
        shown="by extension, then by content",
    )
    field: str | None = row_option(
        Text(empty=False), "Key of a JSON object that holds the rows.", "NAME"
    )
    delimiter: str | None = row_option(
        Text(empty=False),
        "What separates the cells of a CSV file.",
        "C",
        shown="as in the first line: comma, else ; or tab",
    )
    encoding: str | None = row_option(
        Text(empty=False),
        "Encoding of a text file.",
        "NAME",
        shown="utf-8",
    )
    headers: bool = row_option(
        Switch(),
        "The first row names the columns.",
        default=True,
        shown="yes; else column_1, ...",
        flags=("--no-headers",),
    )
    sheet: str | None = row_option(
        Text(empty=False),
        "Sheet of a workbook.",
        "NAME",
        shown="the first",
    )
    limit: int | None = option(
        Number(low=1, whole=True),
        "Only N rows for now; the same command without it continues.",
        "N",
        commands=ROWS_CHOSEN,
        group=PROMPTS,
        owner=Owner.COMMAND,
        variable=False,
    )
    random: bool = option(
        Switch(),
        "With --limit: a sample instead of the first rows.",
        commands=ROWS_CHOSEN,
        group=PROMPTS,
        owner=Owner.COMMAND,
        default=False,
        variable=False,
    )
    extend: bool = run_switch("Take up rows that were added at the end of PROMPTS.", group=PROMPTS)
    skip_invalid: bool = option(
        Switch(),
        "Send the valid lines of a file that has invalid ones, too.",
        commands=RUNS,
        group=PROMPTS,
        owner=Owner.RESULTS,
        default=False,
        variable=False,
    )
    out: Path | None = option(
        Place(),
        "Results file; or a table: .csv, .tsv, .parquet, .xlsx; or a run folder: DIR/.",
        "FILE",
        commands=("run",),
        group=RESULTS,
        owner=Owner.COMMAND,
        shown="PROMPTS.results.jsonl",
        flags=("-o",),
        variable=False,
    )
    shard_size: int | None = option(
        Number(low=1, whole=True),
        "Lines per shard of a run folder (256 MB at most).",
        "N",
        commands=("run",),
        group=RESULTS,
        owner=Owner.COMMAND,
        example="50000",
        shown="50000",
        variable=False,
    )
    shard: int | None = option(
        Number(low=1, whole=True),
        "Work on this shard of a run folder only.",
        "N",
        commands=("run",),
        group=RESULTS,
        owner=Owner.COMMAND,
        example="1",
        variable=False,
    )
    on: Literal["ray"] | None = folder_option(
        Choice("ray"),
        "Work on shards of a run folder on a Ray cluster: that of RAY_ADDRESS, else one here.",
        "ray",
    )
    workers: int | None = folder_option(
        Number(low=1, high=10_000, whole=True),
        "Maximum shards at work at once, with --on ray.",
        "N",
        example="1",
        shown="the CPUs of the cluster",
    )
    answer_column: str | None = option(
        Text(empty=False),
        "Column of answers in tables; names all our columns: NAME_status, ...",
        "NAME",
        commands=TABLES,
        group=RESULTS,
        owner=Owner.RUN,
        shown="answer",
        variable=False,
        effect=WITHOUT_TABLE,
    )
    expand: bool | None = option(
        Switch(),
        "JSON answers become columns of tables.",
        commands=TABLES,
        group=RESULTS,
        owner=Owner.RUN,
        shown="yes with --schema",
        flags=("--no-expand",),
        variable=False,
        effect=WITHOUT_TABLE,
    )
    raw: bool | None = option(
        Switch(),
        "Write answers that look like formulas into CSV as they are, without a leading '.",
        commands=TABLES,
        group=RESULTS,
        owner=Owner.RUN,
        flags=("--no-raw",),
        variable=False,
        effect=WITHOUT_TABLE,
    )
    stdout: bool | None = option(
        Switch(),
        "Print results to stdout, too.",
        commands=RUNS,
        group=RESULTS,
        owner=Owner.COMMAND,
        sample="false",
        shown="unless it is a terminal",
        flags=("--no-stdout",),
    )
    format: Literal["full", "text"] = option(
        Choice("full", "text"),
        "What is printed to stdout: whole lines, or id and text.",
        "full|text",
        commands=RUNS,
        group=RESULTS,
        owner=Owner.COMMAND,
        default="full",
        sample='"full"',
    )
    new_only: bool = run_switch("Print only what this command finishes.", group=RESULTS)
    fresh: bool = option(
        Switch(),
        "Set an existing run aside and start over.",
        commands=("run",),
        group=RESULTS,
        owner=Owner.COMMAND,
        default=False,
        variable=False,
    )
    retry_errored: bool = run_switch("Retry requests that did not succeed.", group=RESULTS)
    retry_degraded: bool = run_switch(
        "Resend requests that a fallback endpoint answered.", group=RESULTS
    )
    retry_stop: tuple[str, ...] = option(
        Names(*sorted(UNFINISHED)),
        "Resend requests whose answer stopped so: max_tokens, refusal, ...; repeatable.",
        "REASON",
        commands=RUNS,
        group=RESULTS,
        owner=Owner.COMMAND,
        default=(),
        variable=False,
    )
    mode: Mode = run_option(
        Choice("live", "batch", "auto"),
        "Batches cost half and take up to a day; auto chooses.",
        "live|batch|auto",
        group=MODE,
        default="live",
        sample='"live"',
    )
    deadline: str | None = option(
        Time(),
        "Finish within this time, e.g. 2h.",
        "TIME",
        commands=(*RUNS, "estimate"),
        group=MODE,
        owner=Owner.RUN,
        sample='"2h"',
        effect=WITHOUT_BATCHES,
    )
    batch_size: int | None = run_option(
        Number(low=1, high=100_000, whole=True),
        "Maximum requests per batch.",
        "N",
        group=MODE,
        sample="100_000",
        shown="100000",
        effect=WITHOUT_BATCHES,
    )
    canary: bool = run_option(
        Switch(),
        "Send one line of each shape live before its batch.",
        group=MODE,
        default=True,
        sample="true",
        shown="yes",
        flags=("--no-canary",),
    )
    list_lag: str = option(
        Time(),
        "How long a new batch may take to appear in the list of batches: without an answer to a "
        "create it is looked for this long.",
        commands=(),
        group="",
        owner=Owner.RUN,
        default="5m",
        sample='"5m"',
    )
    first_poll: str = option(
        Time(),
        "When a new batch is polled first; the pauses grow to a minute.",
        commands=(),
        group="",
        owner=Owner.RUN,
        default="5s",
        sample='"5s"',
    )
    detach: bool = run_switch("Submit batches and exit; resume collects them.", group=MODE)
    rpm: float | None = option(
        Number(above=0),
        "Maximum requests per minute.",
        "N",
        commands=(*ADJUSTED, "estimate"),
        group=PACE,
        owner=Owner.RUN,
        sample="500",
    )
    itpm: float | None = option(
        Number(above=0),
        "Maximum input tokens per minute.",
        "N",
        commands=(*ADJUSTED, "estimate"),
        group=PACE,
        owner=Owner.RUN,
        sample="1_000_000",
    )
    otpm: float | None = option(
        Number(above=0),
        "Maximum output tokens per minute.",
        "N",
        commands=(*ADJUSTED, "estimate"),
        group=PACE,
        owner=Owner.RUN,
        sample="200_000",
    )
    tier: Tier | None = option(
        Choice("start", "build", "scale"),
        "Rate-limit tier to assume until the API reports real limits.",
        "start|build|scale",
        commands=(*RUNS, "estimate"),
        group=PACE,
        owner=Owner.RUN,
        sample='"build"',
    )
    share: float = option(
        Fraction(),
        "Use at most this share of the limits.",
        "0..1",
        commands=(*ADJUSTED, "estimate"),
        group=PACE,
        owner=Owner.RUN,
        default=1.0,
        sample="0.8",
        shown="1",
    )
    shared_limits: str | None = option(
        StoreUrl(),
        "Split the limits fairly with other programs that use this Redis database.",
        "redis://HOST:PORT/0",
        commands=(*RUNS, "limits", "doctor"),
        group=PACE,
        owner=Owner.RUN,
        sample='"redis://127.0.0.1:6379/0"',
        effect=WITH_SANDBOX,
    )
    concurrency: int | None = option(
        Number(low=1, high=20_000, whole=True),
        "Maximum requests in flight.",
        "N",
        commands=ADJUSTED,
        group=PACE,
        owner=Owner.RUN,
        sample="200",
        shown="automatic",
    )
    max_cost: float | None = option(
        Number(above=0),
        "Spend at most this much (docs/guide.md, Cost); the run can be resumed.",
        "USD",
        commands=ADJUSTED,
        group=MONEY,
        owner=Owner.RUN,
        sample="25.0",
    )
    confirm_above: float = run_option(
        Number(low=0),
        "Ask before spending more.",
        "USD",
        group=MONEY,
        default=10.0,
        sample="10.0",
        shown="10",
    )
    yes: bool = run_switch(
        "Do not ask for confirmation.",
        group=MONEY,
        flags=("-y",),
    )
    allow_unknown_model: bool = option(
        Switch(),
        "Use models that neither the catalog nor the endpoint lists.",
        commands=RUNS,
        group=MONEY,
        owner=Owner.COMMAND,
        default=False,
        sample="false",
    )
    prices: Path | None = option(
        File(),
        "Models and prices of your own (TOML).",
        "FILE",
        commands=(*RUNS, "estimate", "models", "doctor"),
        group=MONEY,
        owner=Owner.RUN,
        sample='"prices.toml"',
    )
    cache: bool | None = run_option(
        Switch(),
        "Cache answers and reuse them.",
        group=CACHING,
        sample="true",
        shown="yes with --cache-url",
        flags=("--no-cache",),
    )
    cache_url: str | None = option(
        StoreUrl(),
        "Where answers are cached: redis://HOST:PORT/0 or sqlite:///PATH.",
        "URL",
        commands=(*RUNS, "cache", "doctor"),
        group=CACHING,
        owner=Owner.RUN,
        sample='"redis://127.0.0.1:6379/0"',
        shown="your cache folder",
    )
    cache_ttl: str | None = option(
        Time(),
        "How long a cached answer is valid.",
        "TIME",
        commands=(*RUNS, "cache"),
        group=CACHING,
        owner=Owner.RUN,
        sample='"30d"',
        shown="forever",
        effect=WITHOUT_CACHE,
    )
    dedupe: bool = option(
        Switch(),
        "Send equal prompts once; in a run folder once per shard, with --cache once in all.",
        commands=("run",),
        group=CACHING,
        owner=Owner.RESULTS,
        default=False,
        sample="false",
    )
    cache_prefix: Literal["auto", "off"] = run_option(
        Choice("auto", "off"),
        "Use prompt caching for a shared prefix.",
        "auto|off",
        group=CACHING,
        default="off",
        sample='"off"',
    )
    max_attempts: int = run_option(
        Number(low=1, high=1_000_000, whole=True),
        "Attempts per request.",
        "N",
        group=FAILURES,
        default=6,
        sample="6",
    )
    patience: str = run_option(
        Time(),
        "Give up after this long without a success.",
        "TIME",
        group=FAILURES,
        default="1h",
        sample='"1h"',
    )
    sandbox: bool = option(
        Switch(),
        "Use the built-in simulated API: no key, no cost.",
        commands=("run", "estimate", "limits"),
        group=SANDBOX,
        owner=Owner.RESULTS,
        default=False,
    )
    scenario: Path | None = option(
        File(),
        "How the sandbox behaves (TOML).",
        "FILE",
        commands=("run", "estimate", "limits", "sandbox"),
        group=SANDBOX,
        owner=Owner.RUN,
    )
    log: Path | None = option(
        File(),
        "Append one JSON line per attempt to FILE.",
        "FILE",
        commands=RUNS,
        group=WATCHING,
        owner=Owner.COMMAND,
    )
    metrics_port: int | None = option(
        Number(low=0, high=65_535, whole=True),
        "Serve metrics for Prometheus at this port; 0: a free one.",
        "PORT",
        commands=RUNS,
        group=WATCHING,
        owner=Owner.COMMAND,
    )
    metrics_host: str = option(
        Text(empty=False),
        "Address to serve metrics at.",
        "HOST",
        effect=WITHOUT_METRICS,
        commands=RUNS,
        group=WATCHING,
        owner=Owner.COMMAND,
        default="127.0.0.1",
    )
    config: Path | None = option(
        File(),
        "Settings file.",
        "FILE",
        commands=(*RUNS, "check", "estimate", "limits", "batches", "models", "doctor", "cache"),
        group=SCREEN,
        owner=Owner.RUN,
        shown="./claude-batch.toml",
    )
    progress: Literal["auto", "live", "plain", "json", "none"] = option(
        Choice("auto", "live", "plain", "json", "none"),
        "How progress is shown on stderr.",
        "auto|live|plain|json|none",
        commands=(*RUNS, "check", "estimate"),
        group=SCREEN,
        owner=Owner.COMMAND,
        default="auto",
        sample='"auto"',
    )
    quiet: bool = option(
        Switch(),
        "Print nothing but errors on stderr.",
        commands=(*RUNS, "check", "estimate"),
        group=SCREEN,
        owner=Owner.COMMAND,
        default=False,
        sample="false",
    )

    def only(self, owner: Owner) -> Options:
        """Return these options without those of other owners."""
        return Options(**{name: getattr(self, name) for name in owned_by(owner)})

    @property
    def uses_sandbox(self) -> bool:
        """Whether the simulated API is asked for."""
        return self.sandbox or self.scenario is not None

    @property
    def caches(self) -> bool:
        """Whether answers are cached for other runs."""
        return self.cache_url is not None if self.cache is None else self.cache

    @property
    def patience_s(self) -> float:
        """Seconds without a success after which a run gives up."""
        return seconds(self.patience)

    @property
    def deadline_s(self) -> float | None:
        """Seconds within which the run should be over; None: no deadline."""
        return None if self.deadline is None else seconds(self.deadline)

    @property
    def list_lag_s(self) -> float:
        """Seconds after which a batch that was created is certainly listed."""
        return seconds(self.list_lag)

    @property
    def first_poll_s(self) -> float:
        """Seconds until a new batch is polled first."""
        return seconds(self.first_poll)

    @property
    def cache_ttl_s(self) -> float | None:
        """Seconds for which a cached answer is valid; None: forever."""
        return None if self.cache_ttl is None else seconds(self.cache_ttl)


OPTIONS: Mapping[str, Declared] = declarations(Options)

SETTINGS = tuple(name for name, each in OPTIONS.items() if each.sample)
"""What may stand in [defaults]."""


def owned_by(owner: Owner) -> tuple[str, ...]:
    """Return the options of an owner."""
    return tuple(name for name, each in OPTIONS.items() if each.owner is owner)
