//! The integration tests, one binary: the wasmtime and AWS crates are linked once.

mod bad_input;
mod commands;
mod component;
mod faults;
mod golden;
mod hostile;
mod layout;
mod limits;
mod local_store;
mod other_users;
mod outside;
mod place;
mod plugins;
mod property;
mod python_client;
mod readback;
mod readers;
mod rig;
mod serve;
mod session_policy;
mod status_page;
mod support;
mod tenant_limits;
mod tenants;
mod tools;
