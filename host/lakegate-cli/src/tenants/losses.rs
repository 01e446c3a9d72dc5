//! What a reloaded tenants file would remove: a truncated file can still be a valid one with fewer tenants and fewer limits.

use super::entry::TenantEntry;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The field of the listening address is not compared: another kind of address has other fields, and none of them is a limit.
const LISTEN: &str = "listen";

/// The raw fields of each tenant in a valid file.
pub(super) fn fields(text: &str) -> BTreeMap<String, Table> {
    let table = |value| if let Value::Table(table) = value { Some(table) } else { None };
    let tenants = text.parse::<Table>().ok().and_then(|mut file| file.remove("tenants")).and_then(table).unwrap_or_default();
    tenants.into_iter().filter_map(|(name, value)| Some((name, table(value)?))).collect()
}

/// Served tenants that are missing in `wanted`, and fields of served tenants that are missing there.
pub(super) fn between<'a>(served: impl Iterator<Item = &'a TenantEntry>, wanted: &[TenantEntry]) -> Vec<String> {
    let mut losses = Vec::new();
    for before in served {
        let name = &*before.tenant.name;
        match wanted.iter().find(|after| *after.tenant.name == *name) {
            Some(after) => compare(name, "", &before.fields, &after.fields, &mut losses),
            None => losses.push(format!("the tenant {name:?}")),
        }
    }
    losses
}

fn compare(tenant: &str, prefix: &str, before: &Table, after: &Table, losses: &mut Vec<String>) {
    for (field, value) in before.iter().filter(|(field, _)| !prefix.is_empty() || *field != LISTEN) {
        match (value, after.get(field)) {
            (_, None) => losses.push(format!("`{prefix}{field}` of {tenant:?}")),
            (Value::Table(before), Some(Value::Table(after))) => compare(tenant, &format!("{prefix}{field}."), before, after, losses),
            (_, Some(_)) => {}
        }
    }
}
