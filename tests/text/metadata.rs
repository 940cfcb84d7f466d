//! Checks that each package has complete metadata, a README and license files, so that it can be
//! used alone.

use std::path::Path;
use std::process::Command;

#[test]
fn every_package_has_its_metadata_and_its_licenses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root);
    let output = cargo.output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 8, "{} packages", packages.len());
    for package in packages {
        let (name, folder) = (&package["name"], package["manifest_path"].as_str().unwrap());
        let folder = Path::new(folder).parent().unwrap();
        for list in ["keywords", "categories"] {
            assert!(!package[list].as_array().unwrap().is_empty(), "{name}: {list}");
        }
        for text in ["description", "license", "readme", "rust_version"] {
            assert!(package[text].is_string(), "{name}: {text}");
        }
        assert!(folder.join(package["readme"].as_str().unwrap()).exists(), "{name}: readme");
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(license).exists(), "{name}: {license}");
        }
    }
}
