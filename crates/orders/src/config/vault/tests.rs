//! What an operator may write, and what he is told otherwise.

use crate::config::Config;

const WHOLE: &str = r#"
[vault]
kind = "hashicorp"
address = "https://vault.example:8200"
ca = "/etc/hansa/vault-ca.pem"
path = "hansa/eu-west"

[vault.auth]
kind = "kubernetes"
role = "hansa-eu-west"
"#;

fn problem(from: &str, to: &str) -> String {
    let text = WHOLE.replacen(from, to, 1);
    assert_ne!(text, WHOLE);
    match toml::from_str::<Config>(&text) {
        Ok(config) => config.check().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_remote_vault_is_read_with_its_defaults_and_printed_whole() {
    let config: Config = toml::from_str(WHOLE).unwrap();
    config.check().unwrap();
    let printed = toml::to_string_pretty(&config).unwrap();
    assert!(printed.contains("serviceaccount/token") && printed.contains("mount = \"secret\""));
    assert_eq!(toml::from_str::<Config>(&printed).unwrap(), config);
    assert_eq!(Config::default().vault.file().unwrap().to_str(), Some("vault.key"));
    let file = "[vault]\nkind = \"file\"\npath = \"/shared/vault.key\"\n";
    assert!(toml::from_str::<Config>(file).unwrap().vault.file().is_some());
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    assert!(problem("https://", "http://").contains("orders.vault.address"));
    assert!(problem(":8200", "").contains("orders.vault.address"));
    assert!(problem("hansa/eu-west", "hansa/../eu-west").contains("orders.vault.path"));
    assert!(problem("hansa/eu-west", "/hansa").contains("orders.vault.path"));
    assert!(problem("hansa-eu-west", "a?b").contains("orders.vault.auth.role"));
    assert!(problem("path =", "timeout_ms = 5\npath =").contains("orders.vault.timeout_ms"));
    assert!(problem("path =", "pth =").contains("pth"));
    assert!(problem("role =", "jwts = \"x\"\nrole =").contains("jwts"));
    assert!(problem("\"hashicorp\"", "\"kms\"").contains("kms"));
    assert!(problem("kind = \"hashicorp\"", "kind = \"file\"").contains("address"));
}
