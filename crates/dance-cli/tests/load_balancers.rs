//! docs/load-balancers: pages show the files beside them as these are, and the settings for the service are good.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/load-balancers")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Each file with the name of its directory.
fn files() -> Vec<(String, PathBuf)> {
    let directories = entries(&directory()).into_iter().filter(|entry| entry.is_dir());
    directories.flat_map(|of| entries(&of).into_iter().map(move |file| (name(&of).to_owned(), file))).collect()
}

/// The fenced blocks of a page that come after a line which links to a file: that file, and the block.
fn shown(page: &str) -> Vec<(&str, String)> {
    let lines: Vec<&str> = page.lines().collect();
    let mut shown = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let link = line.strip_suffix("):").and_then(|line| line.rsplit_once("](")).map(|(_, target)| target);
        if let (Some(target), Some(["", fence, block @ ..])) = (link, lines.get(number + 1..))
            && fence.starts_with("```")
        {
            let block: String =
                block.iter().take_while(|line| **line != "```").map(|line| format!("{line}\n")).collect();
            shown.push((target, block));
        }
    }
    shown
}

#[test]
fn every_page_shows_its_files_as_they_are() {
    let mut unseen: Vec<String> = files().iter().map(|(of, file)| format!("{of}/{}", name(file))).collect();
    assert!(unseen.len() > 10, "{unseen:?}");
    for path in entries(&directory()).into_iter().filter(|entry| entry.is_file()) {
        let page = fs::read_to_string(&path).unwrap();
        for (target, block) in shown(&page) {
            let file = fs::read_to_string(directory().join(target)).unwrap();
            assert!(block == file, "{}: the block below the link to {target} is not that file", name(&path));
            unseen.retain(|file| file != target);
        }
    }
    assert_eq!(unseen, [""; 0], "files that no page shows");
}

#[test]
fn links_between_pages_lead_somewhere() {
    for path in entries(&directory()).into_iter().filter(|entry| entry.is_file()) {
        let page = fs::read_to_string(&path).unwrap();
        let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            assert!(directory().join(file).exists(), "{}: {target}", name(&path));
        }
    }
}

#[test]
fn the_service_takes_the_settings_of_every_recipe() {
    let mut checked = 0;
    for (of, file) in files().into_iter().filter(|(_, file)| name(file).starts_with("auth-service")) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dance"));
        let output = command.args(["auth-service", "--check", "--config"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{of}: {}", String::from_utf8_lossy(&output.stderr));
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(!warnings.contains("WARN"), "{of}: {warnings}");
        checked += 1;
    }
    assert!(checked > 4);
}
