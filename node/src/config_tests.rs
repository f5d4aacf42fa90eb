use super::*;

fn parse(args: &[&str]) -> Result<Config, String> {
    let args = std::iter::once("standby-node").chain(args.iter().copied());
    Config::from_args(args.map(OsString::from).collect()).map_err(|error| error.to_string())
}

#[test]
fn the_parser_is_sound() {
    Config::command().debug_assert();
}

#[test]
fn standalone_serves_loopback_only() {
    let config = parse(&["--standalone", "--data-dir", "d"]).expect("it is enough");
    assert_eq!(config.client_address().to_string(), "127.0.0.1:2379");
    assert_eq!(config.probe_address(), None);
}

#[test]
fn a_wrong_value_names_its_flag() {
    let error = parse(&["--standalone", "--data-dir", "d", "--client-listen", "here"]);
    assert!(error.expect_err("no address").contains("--client-listen"));
    let error = parse(&["--standalone", "--data-dir", "d", "--name", "No_Name"]);
    assert!(error.expect_err("no name").contains("--name"));
}

#[test]
fn the_log_keeps_what_it_is_told_to() {
    let with = |flag: &str, value: &str| parse(&["--standalone", "--data-dir", "d", flag, value]);
    let config = with("--log-segment-bytes", "4194304").expect("it is the least");
    assert_eq!(config.log_segment_bytes, Some(4 << 20));
    for wrong in ["4190208", "4194305", "2147483648", "64M"] {
        let error = with("--log-segment-bytes", wrong).expect_err("no such size");
        assert!(error.contains("multiple of 4096"), "{error}");
    }
    assert!(with("--log-retain-bytes", "1048575").is_err());
    assert!(with("--log-retain-bytes", "1048576").is_ok());
}

#[test]
fn a_node_of_a_cluster_needs_its_cluster_and_certificates() {
    let error = parse(&["--data-dir", "d"]).expect_err("neither is given");
    assert!(
        error.contains("--cluster-id") && error.contains("--tls-dir"),
        "{error}"
    );
}

#[test]
fn without_tls_only_loopback_is_served() {
    let common = [
        "--data-dir",
        "d",
        "--cluster-id",
        "c",
        "--insecure-loopback",
    ];
    let error = parse(&common).expect_err("the default is every address");
    assert!(error.contains("--client-listen is 0.0.0.0:2379"), "{error}");
}

/// The addresses that `--insecure-loopback` asks for.
const LOOPBACK: [&str; 7] = [
    "--insecure-loopback",
    "--client-listen",
    "127.0.0.1:2379",
    "--peer-listen",
    "127.0.0.1:2380",
    "--control-listen",
    "127.0.0.1:2381",
];

#[test]
fn without_tls_probes_are_answered_on_loopback_too() {
    let common = ["--data-dir", "d", "--cluster-id", "c"];
    let with = |more: &[&str]| parse(&[&common, &LOOPBACK[..], more].concat());
    let config = with(&[]).expect("the default is one");
    let probe = config.probe_address().expect("there is one");
    assert_eq!(probe.to_string(), "127.0.0.1:2382");
    let error = with(&["--probe-listen", "0.0.0.0:2382"]).expect_err("it is every address");
    assert!(error.contains("--probe-listen is 0.0.0.0:2382"), "{error}");
}

/// A file with this text; it lasts as long as the directory.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("node.yaml");
    std::fs::write(&file, text).expect("it is writable");
    let name = file.to_str().expect("a plain path").to_owned();
    (dir, name)
}

const CLUSTER_NODE: &str = "name: db-1\ncluster-id: c\ndata-dir: d\ntls-dir: certificates\n\
                            client-tls: server-only\nstandalone: false\n\
                            quota-backend-bytes: 0\n";

#[test]
fn a_file_is_enough_for_a_node_of_a_cluster() {
    let (_dir, name) = file(CLUSTER_NODE);
    let config = parse(&["--config", &name]).expect("it has all that is required");
    assert_eq!(config.name, "db-1");
    assert_eq!(config.cluster_id.as_deref(), Some("c"));
    assert_eq!(config.tls_dir.as_deref(), Some(Path::new("certificates")));
    assert_eq!(config.client_tls, ClientTls::ServerOnly);
    assert_eq!(config.quota_backend_bytes, Some(0));
    assert!(!config.standalone);
}

#[test]
fn a_file_may_ask_for_one_copy_and_for_no_tls() {
    let (_dir, name) = file("standalone: true\ndata-dir: d\n");
    assert!(parse(&["--config", &name]).expect("enough").standalone);
    let (_dir, name) = file("insecure-loopback: true\ndata-dir: d\ncluster-id: c\n");
    let error = parse(&["--config", &name]).expect_err("the default is every address");
    assert!(
        error.contains("--client-listen") && error.contains(&name),
        "{error}"
    );
    let arguments = [&["--config", &name], &LOOPBACK[1..]].concat();
    assert!(parse(&arguments).expect("enough").insecure_loopback);
}

#[test]
fn what_excludes_each_other_does_so_in_a_file_too() {
    let (_dir, name) = file(CLUSTER_NODE);
    for flag in ["--standalone", "--insecure-loopback"] {
        let error = parse(&["--config", &name, flag]).expect_err("there is TLS");
        for named in [flag, "--tls-dir", &name] {
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}

#[test]
fn a_wrong_value_in_the_file_names_flag_and_file() {
    let (_dir, name) = file("client-listen: here\ndata-dir: d\n");
    let error = parse(&["--standalone", "--config", &name]).expect_err("no address");
    assert!(
        error.contains("--client-listen") && error.contains(&name),
        "{error}"
    );
    let (_dir, name) = file("standalone: perhaps\ndata-dir: d\n");
    let error = parse(&["--config", &name]).expect_err("neither true nor false");
    assert!(
        error.contains("standalone") && error.contains(&name),
        "{error}"
    );
}

#[test]
fn flags_win_over_the_file() {
    let (_dir, name) = file("data-dir: from-file\nname: Not_A_Name\n");
    let config = parse(&["--standalone", "--config", &name, "--name", "flag"]);
    let config = config.expect("the file gives the rest");
    assert_eq!(config.name, "flag");
    assert_eq!(config.data_dir, Path::new("from-file"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let (_dir, name) = file("data-dir: from-file\nstandalone: true\n");
    let with = |variable: &'static str| {
        let set = move |asked: &OsStr| asked == variable;
        file_arguments(&Config::command(), Path::new(&name), &[], set).expect("it is sound")
    };
    assert_eq!(with("NONE"), ["--data-dir=from-file", "--standalone"]);
    assert_eq!(with("STANDBY_DATA_DIR"), ["--standalone"]);
    assert_eq!(with("STANDBY_STANDALONE"), ["--data-dir=from-file"]);
}

#[test]
fn an_unknown_name_in_the_file_is_refused() {
    let (_dir, name) = file("data-directory: x\n");
    let error = parse(&["--standalone", "--config", &name]);
    assert!(error.expect_err("no such flag").contains("data-directory"));
}
