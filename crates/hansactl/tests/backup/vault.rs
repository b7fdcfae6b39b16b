//! What a region's vault keeps secret is in no file of a backup, in whatever form; and a secret
//! that lies in an order is found.

use std::path::{Path, PathBuf};

use memchr::memmem;

use super::rig::{HOME, Rig};

/// In hex, as a vault writes its secrets; of nobody's vault.
const PLANTED: &str = "6b1f0c95d2e84a7730fe5ac14298bd06a3c7591e0d64f82b97e13f60c8a52d4e";

/// The vault's secret and its keys, in hex.
fn secrets(rig: &Rig) -> Vec<String> {
    let text = std::fs::read_to_string(rig.data.join(HOME).join("vault.key")).unwrap();
    let secret = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_whitespace().filter(secret).map(str::to_owned).collect()
}

fn raw(secret: &str) -> Vec<u8> {
    (0..secret.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&secret[at..at + 2], 16))
        .map(Result::unwrap)
        .collect()
}

/// Either half of a secret, as its bytes or in hex.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let halves = [&secret[..32], &secret[32..]].into_iter();
    let all = |half: &str| [raw(half), half.to_lowercase().into(), half.to_uppercase().into()];
    halves.flat_map(all).collect()
}

/// Files below a folder that hold part of the secret.
fn holding(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let (forms, mut found, mut todo) = (forms(secret), Vec::new(), vec![folder.to_owned()]);
    let mut files = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        if forms.iter().any(|form| memmem::find(&bytes, form).is_some()) {
            found.push(path);
        }
    }
    assert!(files > 0, "nothing in {}", folder.display());
    found
}

/// Somebody writes a secret where anybody may read it, before the backup is made.
pub async fn planted(rig: &Rig) {
    rig.place_with_reference(PLANTED).await;
}

pub fn is_not_in(rig: &Rig, backup: &str) {
    let (folder, secrets) = (rig.data.join(backup), secrets(rig));
    assert!(secrets.len() > 1, "a secret and a key");
    for secret in &secrets {
        assert_eq!(holding(&folder, secret), Vec::<PathBuf>::new());
        // Nothing hides it: the vault itself is found by the same search.
        assert_eq!(holding(&rig.data.join(HOME).join("vault.key"), secret).len(), 1);
    }
    assert_ne!(holding(&folder, PLANTED), Vec::<PathBuf>::new(), "what a backup holds is found");
    rig.copy_folder(backup, "leaky");
    let part = rig.data.join("leaky/orders-0/entries");
    let bytes = [std::fs::read(&part).unwrap(), raw(&secrets[1])].concat();
    std::fs::write(&part, bytes).unwrap();
    assert_eq!(holding(&rig.data.join("leaky"), &secrets[1]), [part], "it turns red");
}
