//! The script of docs/ci.md does what the page says.

use proximity_tests::process::program;
use std::{env, fs, path::Path, process::Command};

#[test]
fn the_script_of_the_ci_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci.md");
    let page = fs::read_to_string(page).expect("docs/ci.md");
    let (_, script) = page.split_once("```bash\n").expect("a script");
    let (script, _) = script.split_once("```").expect("its end");

    let programs = ["mock-fpga", "proximity-agent", "proximity"].map(program);
    let places = programs.iter().filter_map(|path| path.parent());
    let rest = env::var_os("PATH").unwrap_or_default();
    let path = places.map(Path::to_owned).chain(env::split_paths(&rest));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ci-page");
    fs::create_dir_all(&folder).expect("a folder to run in");

    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("PATH", env::join_paths(path).expect("folders without colons"))
        .current_dir(&folder)
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{output:?}");
}
