//! Another user of the machine at the control socket.

use crate::Settings;
use crate::figures::Figures;
use crate::process::Node;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// With the mode of the file out of the way, the node itself turns another user away.
pub(crate) fn other_user(settings: &Settings, figures: &mut Figures) {
    let node = Node::start(settings, "user");
    let place = std::env::temp_dir().join(format!("ast-hostile-program-{}", std::process::id()));
    fs::copy(&settings.node, &place).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    let ask = |mut command: Command| {
        command
            .args(["status", "--json", "--control-socket"])
            .arg(&node.socket)
            .current_dir("/");
        command.output()
    };
    let as_nobody = || {
        let mut command = Command::new(&place);
        command.uid(NOBODY);
        ask(command).or_else(|_| {
            // Only the superuser can become somebody else.
            let mut command = Command::new("sudo");
            command
                .args(["-n", "-u", &format!("#{NOBODY}")])
                .arg(&place);
            ask(command)
        })
    };
    let own = ask(Command::new(&place)).unwrap();
    figures.bar(
        "the user who runs it",
        own.status,
        "exit 0",
        own.status.success(),
    );
    for (mode, what) in [
        (0o600, "another user"),
        (0o666, "another user, the file open to all"),
    ] {
        fs::set_permissions(&node.socket, Permissions::from_mode(mode)).unwrap();
        match as_nobody() {
            Ok(ran) => figures.bar(
                what,
                format!(
                    "{}: {}",
                    ran.status,
                    String::from_utf8_lossy(&ran.stderr).trim()
                ),
                "exit 1 and no reply",
                ran.status.code() == Some(1)
                    && ran.stdout.is_empty()
                    && String::from_utf8_lossy(&ran.stderr).contains("control socket"),
            ),
            Err(error) => figures.bar(
                what,
                format!("nobody can be asked ({error}): run this as root, or install sudo"),
                "exit 1 and no reply",
                false,
            ),
        }
    }
    let _ = fs::remove_file(&place);
}
