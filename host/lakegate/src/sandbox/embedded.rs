//! The component that is built into this library, and the interfaces that any component may import.

/// A `static`, because each unit of code that names a constant of this size has it once more.
static COMPONENT: &[u8] = include_bytes!(env!("LAKEGATE_COMPONENT"));

/// The component that this build embeds.
pub fn component_bytes() -> &'static [u8] {
    COMPONENT
}

/// The interfaces a component may import.
pub fn allowed_imports() -> impl Iterator<Item = &'static str> {
    include_str!("../../allowed-imports.txt").lines()
}

/// The SHA-256 digest of [`component_bytes`], in hex: taken when it was built, since to read the component brings all of it into memory.
pub(super) const COMPONENT_DIGEST: &str = env!("LAKEGATE_COMPONENT_DIGEST");

/// Whether a component may import the interface `name`.
pub(super) fn is_allowed(name: &str) -> bool {
    allowed_imports().any(|allowed| same_interface(name, allowed))
}

/// The version of the world that this program runs.
pub(super) const WORLD_VERSION: &str = "0.3.0";

/// The version of the world that an import of another one names.
pub(super) fn other_version(name: &str) -> Option<&str> {
    let (_, version) = name.strip_prefix("lakegate:destination/")?.split_once('@')?;
    (version != WORLD_VERSION).then_some(version)
}

/// Equal names, but for the patch version of `wasi:` interfaces.
fn same_interface(name: &str, allowed: &str) -> bool {
    let without_patch = |text: &str| text.starts_with("wasi:").then(|| text.rsplit_once('.').map(|(head, _)| head.to_owned())).flatten();
    name == allowed || without_patch(name).is_some_and(|head| without_patch(allowed) == Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_world_is_that_of_the_list() {
        let own = allowed_imports().filter(|name| name.starts_with("lakegate:destination/"));
        assert_eq!(own.map(other_version).collect::<Vec<_>>(), [None, None]);
        assert_eq!(other_version("lakegate:destination/log@0.1.0"), Some("0.1.0"));
        assert_eq!(other_version("wasi:random/random@0.1.0"), None);
    }

    #[test]
    fn patch_versions_of_wasi_do_not_count() {
        for (name, allowed, same) in [
            ("wasi:random/random@0.2.0", "wasi:random/random@0.2.6", true),
            ("wasi:random/random@0.3.0", "wasi:random/random@0.2.6", false),
            ("wasi:random/insecure@0.2.6", "wasi:random/random@0.2.6", false),
            ("lakegate:destination/log@0.3.1", "lakegate:destination/log@0.3.0", false),
        ] {
            assert_eq!(same_interface(name, allowed), same, "{name} against {allowed}");
        }
    }
}
