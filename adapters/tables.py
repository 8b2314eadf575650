"""The store's tables. Migrations in `adapters/migrations` bring a database to exactly this."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# One row: a counter that every change of versions, aliases, experiments or keys raises. Gateways
# poll it.
revision = Table("revision", metadata, Column("value", Integer, nullable=False))

versions = Table(
    "versions",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("domain", String(32), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("created", String(32), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("retired", Boolean, nullable=False, default=False),
    Column("manifest", JSON, nullable=False),
    Index("versions_domain_number", "domain", "number", unique=True),
)

# Append-only: the aliases are what replaying these rows gives, and the rows are the audit log.
moves = Table(
    "moves",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("domain", String(32), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("version", String(64), ForeignKey("versions.version"), nullable=True),
    Column("actor", String(64), nullable=False),
    Column("reason", Text, nullable=False),
)

# What an experiment is, and how far it has come: `design` never changes, the rest moves.
experiments = Table(
    "experiments",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("domain", String(32), nullable=False, index=True),
    Column("design", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("percent", Float, nullable=True),
    Column("weights", JSON, nullable=False),
    Column("kept", JSON, nullable=False),
    Column("start", Float, nullable=False),
    Column("created", String(32), nullable=False),
    Column("moved", String(32), nullable=False),
    Column("stopped", String(32), nullable=True),
    # What the data said at the last look, and when that was (unix seconds).
    Column("report", JSON, nullable=True),
    Column("looked", Float, nullable=True),
)

# Who does, until when (unix seconds), what only one process may do at a time.
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Float, nullable=False),
)

# Append-only: every move of every experiment, with what justified it.
experiment_moves = Table(
    "experiment_moves",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("experiment", String(64), ForeignKey("experiments.name"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("reason", Text, nullable=False),
)

_IN_EXPERIMENTS = text("experiment IS NOT NULL")

# Its indexes grow at their end, where the pages are at hand. One by `unit` would touch a page of
# its own for every record, and cost more the larger it is.
interactions = Table(
    "interactions",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("created", Float, nullable=False),
    Column("unit", String(64), nullable=False),
    Column("target", String(32), nullable=False),
    Column("model", String(128), nullable=False),
    Column("experiment", String(64), nullable=True),
    Column("arm", String(64), nullable=True),
    Column("outcome", String(16), nullable=False),
    Column("record", JSON, nullable=False),
    Index("interactions_by_time", "created", "target", "unit"),
    Index(
        "interactions_by_experiment",
        "experiment",
        "created",
        "arm",
        sqlite_where=_IN_EXPERIMENTS,
        postgresql_where=_IN_EXPERIMENTS,
    ),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String(128), primary_key=True),
    # No foreign key: feedback may reach the store before the answer it judges.
    Column("interaction_id", String(128), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("metric", String(64), nullable=False),
    Column("record", JSON, nullable=False),
    Index("feedback_by_time", "created"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("created", String(32), nullable=False),
    Column("revoked", String(32), nullable=True),
    # A list of names; null for all targets.
    Column("targets", JSON(none_as_null=True), nullable=True),
)

# Uploaded examples; `examples` counts them by kind. The bytes lie under the artifact root.
files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("filename", String(255), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("examples", JSON, nullable=False),
    Index("files_by_owner", "owner", "created"),
)

# What is to be trained, for whom, and how far it has come; `request` never changes. `holder` is the
# worker that is at it, until when (unix seconds) unless it says otherwise; `seconds` what its runs
# took.
training_jobs = Table(
    "training_jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("domain", String(32), nullable=False),
    Column("created", Float, nullable=False),
    Column("request", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started", Float, nullable=True),
    Column("finished", Float, nullable=True),
    Column("seconds", Float, nullable=False),
    Column("version", String(64), nullable=True),
    Column("verdict", String(16), nullable=True),
    Column("trained_tokens", BigInteger, nullable=True),
    Column("error", JSON(none_as_null=True), nullable=True),
    Column("deaths", Integer, nullable=False),
    Column("holder", String(64), nullable=True),
    Column("until", Float, nullable=False),
    Index("training_jobs_by_state", "state", "created"),
    Index("training_jobs_by_domain", "domain", "created"),
)

# Append-only: what happened to jobs, the figures of every step, the checkpoints they left.
training_events = Table(
    "training_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", String(64), ForeignKey("training_jobs.id"), nullable=False),
    Column("created", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("level", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index("training_events_by_job", "job", "id"),
)

# What people are to look at; `wanted` annotators each. `state` follows from the annotations.
review_items = Table(
    "review_items",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("domain", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("batch", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("receipt", String(128), nullable=True, index=True),
    Column("unit", String(64), nullable=True, index=True),
    Column("example", JSON, nullable=False),
    Column("origin", JSON, nullable=False),
    Index("review_items_by_state", "domain", "state", "created", "id"),
    Index("review_items_by_batch", "batch", "created", "id"),
    Index("review_items_by_time", "created", "id"),
)

# What each annotator says now; whoever thinks again replaces it. What settles a dispute (`final`)
# stands beside what the same annotator said before.
review_annotations = Table(
    "review_annotations",
    metadata,
    Column("item", String(64), ForeignKey("review_items.id"), primary_key=True),
    Column("annotator", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("answer", Text, nullable=True),
    Column("comment", Text, nullable=False),
    Column("final", Boolean, primary_key=True),
)
