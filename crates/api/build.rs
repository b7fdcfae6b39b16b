//! Compiles `proto/` without `protoc`, and derives from its data-class options what may leave a
//! region.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "build/classes.rs"]
mod classes;
#[path = "build/emit.rs"]
mod emit;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed=../../proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");

    let mut files = Vec::new();
    find_protos(&root.join("hansa"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let pool = compiler.descriptor_pool();

    let messages = classes::read(&pool)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("lawful.rs"), emit::lawful(&messages))?;
    fs::write(out.join("methods.rs"), emit::methods(&pool))?;

    // A message that carries more than operational fields gets a Debug that redacts them.
    let redacted: BTreeSet<String> =
        messages.iter().filter(|m| m.has_secrets()).map(|m| format!(".{}", m.full_name)).collect();
    // The codec tells requests from responses by their names.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(redacted)
        .codec_path("crate::codec::Codec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;

    // Comments would triple the set that reflection serves.
    compiler.include_source_info(false);
    fs::write(out.join("descriptor.binpb"), compiler.encode_file_descriptor_set())?;
    Ok(())
}

fn find_protos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    Ok(())
}
