//! Edges that close a circle today, each with what would cut it. An edge that is gone is to leave the list.

/// Edges that are left out of the search for circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) package: &'static str,
    /// Files that use what they should not.
    pub(crate) from: &'static [&'static str],
    /// The file that they use.
    pub(crate) to: &'static str,
    /// Why they do, and what would cut it.
    pub(crate) reason: &'static str,
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        package: "host",
        from: &["bindings"],
        to: "upload",
        reason: "a resource of the world is mapped to `Upload` where the world's records are: these want plain types of our own",
    },
    Known {
        package: "host",
        from: &["payload"],
        to: "staging",
        reason: "`Extent` and a spilled piece are two halves of one idea: both belong to the spill file",
    },
    Known {
        package: "host",
        from: &["staging"],
        to: "session",
        reason: "`Spill` stands where it is read as an option, not where it is used",
    },
    Known { package: "host", from: &["upload"], to: "session", reason: "`Held` stands beside the session's options" },
    Known {
        package: "host",
        from: &["upload"],
        to: "imports",
        reason: "`TableCall`, a handle on the ledger, stands beside the wasm store",
    },
    Known {
        package: "host",
        from: &["imports::log", "imports::random"],
        to: "imports",
        reason: "every import is a trait of the whole `State`: each wants a view of its own",
    },
    Known {
        package: "host",
        from: &["engine::cache", "engine::compile", "engine::component_file"],
        to: "engine",
        reason: "the settings of wasmtime and the list of imports stand beside the runtime that is made with them",
    },
    Known {
        package: "host",
        from: &["policy::metrics", "policy::quarantine", "policy::quota", "policy::resources", "policy::tenant_log"],
        to: "policy::grant",
        reason: "`Denied` stands below, `Tenant` above, in one file",
    },
    Known {
        package: "host",
        from: &["s3::connect", "s3::credentials", "s3::failure", "s3::inputs", "s3::multipart", "s3::profiles", "s3::retry"],
        to: "s3",
        reason: "the client stands beside the errors and options that its parts share",
    },
    Known {
        package: "host",
        from: &["plugin::inflow", "plugin::output", "plugin::process", "plugin::writing"],
        to: "plugin",
        reason: "`Plugin` stands beside the kinds and options that its parts share",
    },
    Known { package: "host", from: &["plugin"], to: "cli::logging", reason: "`LogLevel` stands with the command line" },
    Known { package: "host", from: &["grpc::connection"], to: "grpc::server", reason: "`Slot` stands beside the server that gives it" },
    Known {
        package: "host",
        from: &["grpc::tls"],
        to: "grpc::listen",
        reason: "what accepts one connection stands beside what accepts with TLS",
    },
    Known {
        package: "host",
        from: &["cli::console"],
        to: "cli::args",
        reason: "the console is made from the arguments as they were given",
    },
    Known {
        package: "host",
        from: &["cli::config::document", "cli::config::files", "cli::config::kinds"],
        to: "cli::config",
        reason: "the configuration stands beside the problems that its parts report",
    },
    Known {
        package: "host",
        from: &["cli::cloudquery_flags", "cli::inspect", "cli::load"],
        to: "cli",
        reason: "the ID of a sync is made where the commands are listed",
    },
    Known {
        package: "host",
        from: &["cli::sync::step"],
        to: "cli::sync",
        reason: "times and shards of a summary stand beside the command",
    },
    Known {
        package: "host",
        from: &["cli::sync::step"],
        to: "cli::migrate",
        reason: "migrate and sync are one round that stops at two places",
    },
    Known { package: "host", from: &["s3::redirect"], to: "s3::failure", reason: "`Place` stands beside the failures that name it" },
    Known {
        package: "host",
        from: &["cli::tenants::losses"],
        to: "cli::tenants",
        reason: "an entry of the file stands beside the reading of the file",
    },
    Known {
        package: "host",
        from: &["local_store::session"],
        to: "local_store::disk",
        reason: "a dead process's puts are undone with the disk that has made them",
    },
    Known {
        package: "host",
        from: &["local_store::session"],
        to: "local_store::multipart",
        reason: "a dead process's uploads are found by the records that multipart writes",
    },
    Known {
        package: "host",
        from: &["source::csv", "source::feed", "source::inputs", "source::magic", "source::ndjson"],
        to: "source::open",
        reason: "options and formats of inputs stand beside the opening, which ends in the readers",
    },
    Known {
        package: "host",
        from: &["source::parquet::types"],
        to: "source::feed",
        reason: "the guard against a decoder's panic stands with the thread that reads",
    },
    Known {
        package: "host",
        from: &["source::parquet::pages", "source::parquet::types"],
        to: "source::parquet",
        reason: "words of Parquet's errors stand beside the reader that looks at pages first",
    },
    Known {
        package: "host",
        from: &["source::parquet::guard"],
        to: "source::parquet::pages",
        reason: "lengths of an encoding are read in both: they want a file of their own",
    },
];
