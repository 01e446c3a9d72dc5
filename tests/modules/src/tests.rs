use super::*;

/// The result of the check for a crate with these files.
#[track_caller]
fn said(files: &[(&str, &str)], known: &[Known]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    let modules = syntax::read(&folder.path().join("lib.rs")).expect("a crate");
    check_modules("made-up", &mut Graph::new(&modules), known)
}

#[track_caller]
fn check(files: &[(&str, &str)], circle: &[&str]) {
    let said = said(files, &[]);
    let edges: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("    ")?.split(": ").next()).collect();
    assert_eq!(edges, circle, "{said}");
}

const TWO: (&str, &str) = ("lib.rs", "mod one; mod other;");

#[test]
fn files_that_use_each_other_are_a_circle() {
    check(&[TWO, ("one.rs", "use crate::other::B; pub struct A;"), ("other.rs", "pub struct B;")], &[]);
    let circle = ["one -> other", "other -> one"];
    // Among files, and among what lies side by side.
    let doubled = [circle, circle].concat();
    check(&[TWO, ("one.rs", "use crate::other::B; pub struct A;"), ("other.rs", "use super::one::A; pub struct B;")], &doubled);
    check(&[TWO, ("one.rs", "pub fn a() { crate::other::b() }"), ("other.rs", "use crate::one; pub fn b() { one::a() }")], &doubled);
    check(&[TWO, ("one.rs", "use crate::other::*; pub struct A;"), ("other.rs", "fn b() -> Option<super::one::A> { None }")], &doubled);
    check(
        &[TWO, ("one.rs", "m!(crate::other::B); pub struct A;"), ("other.rs", "use crate::one::{self as it, A}; pub struct B;")],
        &doubled,
    );
}

#[test]
fn a_longer_way_round_is_a_circle_too() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "pub const A: u8 = crate::b::B;"),
        ("b.rs", "pub const B: u8 = crate::c::C;"),
        ("c.rs", "pub const C: u8 = crate::a::A;"),
    ];
    let circle = ["a -> b", "b -> c", "c -> a"];
    check(&files, &[circle, circle].concat());
}

#[test]
fn a_name_is_followed_through_a_facade_to_its_file() {
    let root = ("lib.rs", "mod room; mod user;");
    let facade = ("room/mod.rs", "mod inner; mod outer; pub use inner::Low; pub(crate) use outer::High as Top;");
    let inner = ("room/inner.rs", "pub struct Low;");
    let outer = ("room/outer.rs", "use super::Low; pub struct High(Low);");
    check(&[root, facade, inner, outer, ("user.rs", "fn f(_: crate::room::Top) {}")], &[]);
    let inner = ("room/inner.rs", "pub struct Low(Option<crate::room::Top>);");
    let circle = ["room::inner -> room::outer", "room::outer -> room::inner"];
    check(&[root, facade, inner, outer, ("user.rs", "")], &[circle, circle].concat());
}

#[test]
fn a_module_and_one_below_it_may_not_use_each_other() {
    let root = ("lib.rs", "mod room;");
    check(&[root, ("room.rs", "mod part; pub struct A; fn f() { part::b() }"), ("room/part.rs", "pub fn b() {}")], &[]);
    let circle = ["room -> room::part", "room::part -> room"];
    check(&[root, ("room.rs", "mod part; pub struct A; fn f() { part::b() }"), ("room/part.rs", "use super::A; pub fn b() {}")], &circle);
}

/// No two files are in a circle, and still neither room is below the other.
#[test]
fn rooms_that_use_each_other_are_a_circle() {
    let files = [
        TWO,
        ("one/mod.rs", "mod high; pub mod low;"),
        ("one/high.rs", "use crate::other::low::B;"),
        ("one/low.rs", "pub struct A;"),
        ("other/mod.rs", "mod high; pub mod low;"),
        ("other/high.rs", "use crate::one::low::A;"),
        ("other/low.rs", "pub struct B;"),
    ];
    check(&files, &["one -> other", "other -> one"]);
}

#[test]
fn what_only_tests_use_does_not_count() {
    let tests = "pub struct A; #[cfg(test)] use crate::other::{B}; #[cfg(test)] mod tests { use crate::other::B; } \
                 impl A { #[cfg(test)] fn f() { crate::other::b() } }";
    check(&[TWO, ("one.rs", tests), ("other.rs", "use crate::one::A; pub struct B;")], &[]);
    let after = "pub struct A; #[cfg(test)] fn f() {} fn g() { crate::other::b() }";
    check(&[TWO, ("one.rs", after), ("other.rs", "use crate::one::A; pub fn b() {}")], &["one -> other", "other -> one"].repeat(2));
}

#[test]
fn other_crates_and_words_in_texts_are_no_modules_of_ours() {
    let one = "// crate::other::B\n/// [`crate::other::B`]\npub struct A; const T: &str = \"crate::other::B\"; use other_crate::other::B; \
               fn f() -> impl Iterator<Item = u8> + use<> { std::iter::empty() }";
    check(&[TWO, ("one.rs", one), ("other.rs", "use crate::one::A; pub struct B;")], &[]);
}

#[test]
fn a_known_edge_is_left_out_for_as_long_as_it_is_there() {
    let known = Known { package: "made-up", from: &["one"], to: "other", reason: "a test" };
    let (one, other) = (("one.rs", "use crate::other::B; pub struct A;"), ("other.rs", "use crate::one::A; pub struct B;"));
    assert_eq!(said(&[TWO, one, other], &[known]), "");
    let gone = said(&[TWO, ("one.rs", "pub struct A;"), other], &[known]);
    assert_eq!(gone, "made-up: one no longer uses other (a test): take it off tests/modules/src/known.rs\n");
}
