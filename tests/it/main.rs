//! The integration tests, in one binary so that the wasmtime and AWS crates are linked only once.

/// What tests stand on.
mod fixtures {
    pub(crate) mod faulty_store;
    pub(crate) mod proxied_store;
    pub(crate) mod support;
}

/// From an encoder to the store, and the commit.
mod delivery {
    mod commit_level;
    mod costs;
    mod exactly_once;
    pub(crate) mod faults;
    mod limits;
    mod local_store;
    mod object_headers;
    mod partitions;
    mod quarantine;
    mod recorded_requests;
}

/// What is in an object, whoever reads it.
mod formats {
    mod exact_values;
    pub(crate) mod golden;
    pub(crate) mod layout;
    mod options;
    mod property;
    mod readback;
    pub(crate) mod readers;
}

/// Tables of an Iceberg catalog, whoever else reads and writes them.
mod iceberg {
    mod commits;
    mod hostile;
    mod lake;
    mod program;
}

/// Files of others.
mod inputs {
    mod bad_input;
    mod binary_fuzz;
    mod binary_inputs;
    mod dialects;
    mod text_memory;
}

/// The program and its commands.
mod program {
    mod cli;
    mod commands;
    mod configuration;
    mod ddl;
    mod endings;
    mod plan;
    mod shell;
    mod telemetry;
}

/// The plugin protocol, from both sides.
mod protocol {
    mod chain;
    pub(crate) mod plugins;
    mod python_client;
    mod serve;
}

/// The component and what it runs in.
mod sandbox {
    mod component;
    mod outside;
}

/// Tenants: what is granted, and what one can take from another.
mod tenancy {
    mod exhaustion;
    mod grant_fuzz;
    pub(crate) mod hostile;
    pub(crate) mod isolation;
    mod other_users;
    mod session_policy;
    mod status_page;
    mod tenant_limits;
    mod tenant_tls;
    pub(crate) mod tenants;
}

mod tools;
