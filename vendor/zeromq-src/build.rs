//! Passes on where libsodium-sys-stable put its library, so that `build()` can tell libzmq's build.
fn main() {
    for name in ["DEP_SODIUM_LIB", "DEP_SODIUM_INCLUDE"] {
        println!("cargo:rerun-if-env-changed={name}");
        if let Ok(value) = std::env::var(name) {
            println!("cargo:rustc-env={name}={value}");
        }
    }
}
