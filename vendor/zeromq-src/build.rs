//! Hands on where libsodium-sys-stable put its library: only a build script is told.
fn main() {
    for name in ["DEP_SODIUM_LIB", "DEP_SODIUM_INCLUDE"] {
        println!("cargo:rerun-if-env-changed={name}");
        if let Ok(value) = std::env::var(name) {
            println!("cargo:rustc-env={name}={value}");
        }
    }
}
