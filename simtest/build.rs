//! Lets libraries that look for `getrandom` at run time find the simulation's.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getrandom");
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=getentropy");
    println!("cargo::rerun-if-changed=build.rs");
}
