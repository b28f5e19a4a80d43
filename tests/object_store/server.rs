//! S3-speaking server of the Python package moto, in a virtual environment below the target folder.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

/// Package that is installed, with its version.
const PACKAGE: &str = "moto[server]==5.2.5";
/// Variable that names an installed server.
const VARIABLE: &str = "MOTO_SERVER";
/// Time to wait for the start of the server.
const START: Duration = Duration::from_secs(60);

/// Running server; ends when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server on any port; installs it first if it is missing. `log` is the file for its
    /// output.
    pub(crate) fn start(log: &Path) -> Result<Self, String> {
        let program = find()?;
        // Free a moment later; nothing else here listens.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.map_err(|error| format!("cannot find a free port: {error}"))?;
        let port = address.port().to_string();
        let output = std::fs::File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = output.map_err(|error| format!("{}: {error}", log.display()))?;
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let server = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START {
                return Err(format!("moto does not listen; see {}", log.display()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Creates a bucket.
    pub(crate) fn create_bucket(&self, name: &str) -> io::Result<()> {
        use std::io::{Read as _, Write as _};
        let mut connection = TcpStream::connect(self.address)?;
        write!(
            connection,
            "PUT /{name} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(()),
            false => Err(io::Error::other(answer)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of the server, which is installed if it is missing.
fn find() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.parent().and_then(Path::parent);
    let venv = target.ok_or("no target folder")?.join("moto-venv");
    let server = venv.join("bin").join("moto_server");
    if server.exists() {
        return Ok(server);
    }
    println!("installing {PACKAGE} to {}", venv.display());
    let advice = format!(
        "it needs Python 3.10 or newer with venv (on Debian: apt-get install python3-venv); or set \
         {VARIABLE} to the path of moto_server"
    );
    let run = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cannot install {PACKAGE}: {error}; {advice}"));
        output.and_then(|output| match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "cannot install {PACKAGE}: {}; {advice}",
                String::from_utf8_lossy(&output.stderr)
            )),
        })
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    let pip = venv.join("bin").join("pip");
    run(Command::new(pip).args(["install", "--quiet", PACKAGE]))?;
    Ok(server)
}
