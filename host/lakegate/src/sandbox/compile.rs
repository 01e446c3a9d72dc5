//! Compiles a stranger's component in a process of its own: a compiler is a large program, and what it is fed decides how much time and
//! memory it takes.
//!
//! The parent starts `PROGRAM compile-component` with nothing of its own environment, feeds it the component and reads native code back, for a limited
//! time. The child limits itself before it reads a byte. It ends with 0 and the code on its standard output; with 3 and the words of the
//! validator; or with anything else. This bounds what compiling costs; it does not make a bug of the compiler harmless.

use super::component_file::{self, ComponentError};
use super::settings::config;
use crate::limits;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// The hidden command of the program that compiles.
pub const SUBCOMMAND: &str = "compile-component";

/// Between two looks at whether the child has ended.
const POLL: Duration = Duration::from_millis(10);

/// Of what the child says on its standard error.
const MAX_SAID_BYTES: u64 = 4 << 10;

/// What the child's allocator asks the system for at a time.
const ARENA_KIBIBYTES: &str = "16384";

/// Files that the child may have open: the three that it is born with, and a few for its run time.
const MAX_FILES: u64 = 16;

/// How the child ends; its exit code tells its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Ended {
    /// The code is written.
    Done = 0,
    /// It could not do its work.
    Failed = 1,
    /// The component is refused: the words of the validator are written where the code would be.
    Refused = 3,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended as u8)
    }
}

/// What compiling one component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time of computing; counted in whole seconds.
    pub cpu: Duration,
    /// Address space of the child.
    pub memory_bytes: u64,
    /// Time by the clock, after which the child is killed.
    pub wall: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { cpu: limits::COMPILE_CPU, memory_bytes: limits::COMPILE_MEMORY_BYTES, wall: limits::COMPILE_WALL }
    }
}

/// Starts the process that compiles.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
}

impl Compiler {
    /// With the `lakegate` command at `program`. It is trusted: what it writes is run.
    pub fn new(program: impl Into<PathBuf>, limits: CompileLimits) -> Self {
        Self { program: program.into(), limits }
    }

    /// With the program of this process, which has to be the `lakegate` command: another would be started with arguments it does not know.
    ///
    /// # Errors
    /// The system does not tell where the program is.
    pub fn for_this_program() -> Result<Self, ComponentError> {
        let program =
            std::env::current_exe().map_err(|error| ComponentError::Compiler(format!("this program cannot be found: {error}")))?;
        Ok(Self::new(program, CompileLimits::default()))
    }

    /// Native code for this machine. Blocks until it is there.
    pub(super) fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, ComponentError> {
        let mut child = self.start()?;
        let (Some(mut input), Some(output), Some(said)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(ComponentError::Compiler("the process has no pipes".into()));
        };
        std::thread::scope(|scope| {
            // A child that ends early closes the pipe; how it ended tells why.
            scope.spawn(move || input.write_all(wasm));
            let code = scope.spawn(move || up_to(output, limits::MAX_COMPILED_BYTES as u64 + 1));
            let said = scope.spawn(move || up_to(said, MAX_SAID_BYTES));
            let ended = self.wait(&mut child);
            let (code, said) = (code.join().unwrap_or_default(), said.join().unwrap_or_default());
            self.judge(ended?, code, &String::from_utf8_lossy(&said))
        })
    }

    fn start(&self) -> Result<Child, ComponentError> {
        let CompileLimits { cpu, memory_bytes, .. } = self.limits;
        Command::new(&self.program)
            .arg(SUBCOMMAND)
            .args([format!("--cpu-seconds={}", cpu.as_secs().max(1)), format!("--memory-bytes={memory_bytes}")])
            .env_clear()
            // The allocator would reserve a gibibyte before the limit is set, which would then count for nothing.
            .env("MIMALLOC_ARENA_RESERVE", ARENA_KIBIBYTES)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| ComponentError::Compiler(format!("{} cannot be started: {error}", self.program.display())))
    }

    /// How the child ended; [`None`] when its time was over.
    fn wait(&self, child: &mut Child) -> Result<Option<ExitStatus>, ComponentError> {
        let until = Instant::now() + self.limits.wall;
        let lost = |error: io::Error| ComponentError::Compiler(format!("the process is lost: {error}"));
        loop {
            if let Some(ended) = child.try_wait().map_err(lost)? {
                return Ok(Some(ended));
            }
            if Instant::now() >= until {
                child.kill().map_err(lost)?;
                child.wait().map_err(lost)?;
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    fn judge(&self, ended: Option<ExitStatus>, code: Vec<u8>, said: &str) -> Result<Vec<u8>, ComponentError> {
        let CompileLimits { cpu, memory_bytes, wall } = self.limits;
        if code.len() > limits::MAX_COMPILED_BYTES {
            return Err(ComponentError::CompiledTooLarge { limit: limits::MAX_COMPILED_BYTES });
        }
        let Some(ended) = ended else { return Err(ComponentError::CompileTime { wall }) };
        if ended.success() {
            return Ok(code);
        }
        if ended.code() == Some(Ended::Refused as i32) {
            return Err(ComponentError::Invalid(component_file::one_line(&String::from_utf8_lossy(&code))));
        }
        if ended.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(ComponentError::CompileCpu { cpu });
        }
        // The words of the standard library's allocator, and of the system where memory was asked of it directly.
        if said.contains("memory allocation of") || said.contains("Cannot allocate memory") {
            return Err(ComponentError::CompileMemory { bytes: memory_bytes });
        }
        Err(ComponentError::Compiler(component_file::one_line(&format!("the process ended with {ended}; it said: {said}"))))
    }
}

fn up_to(from: impl Read, bytes: u64) -> Vec<u8> {
    let mut all = Vec::new();
    // What is missing shows in how the child ended.
    let _cut = from.take(bytes).read_to_end(&mut all);
    all
}

/// The arguments of the hidden command.
#[derive(Debug, Clone, Copy)]
pub struct CompileArgs {
    /// Seconds of computing: `--cpu-seconds`.
    pub cpu_seconds: u64,
    /// Bytes of address space: `--memory-bytes`.
    pub memory_bytes: u64,
}

/// Runs the process that compiles: from standard input to standard output. For the program that [`Compiler`] starts under [`SUBCOMMAND`].
pub fn child(args: CompileArgs) -> ExitCode {
    compile_confined(args).into()
}

fn compile_confined(args: CompileArgs) -> Ended {
    let fail = |text: String| {
        // The parent may be gone.
        let _gone = io::stderr().write_all(text.as_bytes());
        Ended::Failed
    };
    if let Err(error) = confine(args) {
        return fail(format!("the limits cannot be set: {error}"));
    }
    let wasm = up_to(io::stdin(), limits::MAX_COMPONENT_BYTES as u64 + 1);
    // One thread: each further one would reserve address space that the limit is not meant for.
    let mut config = config();
    config.parallel_compilation(false);
    let engine = match Engine::new(&config) {
        Ok(engine) => engine,
        Err(error) => return fail(format!("no compiler: {error:#}")),
    };
    let (ended, written) = match component_file::check(&wasm).map_err(|error| error.to_string()).and_then(|()| precompile(&engine, &wasm)) {
        Ok(code) => (Ended::Done, code),
        Err(text) => (Ended::Refused, text.into_bytes()),
    };
    match io::stdout().write_all(&written).and_then(|()| io::stdout().flush()) {
        Ok(()) => ended,
        Err(error) => fail(format!("nobody takes what is written: {error}")),
    }
}

fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(wasm).map_err(|error| format!("{error:#}"))
}

/// Serving goes first. Not 19: on a busy machine that is a hundredth of a core, and compiling would miss its time limit.
const NICE: i32 = 10;

/// From here on this process computes, behind those that serve, and does nothing else: it writes no file, dumps no core, opens next to nothing, and
/// ends with its parent.
fn confine(CompileArgs { cpu_seconds, memory_bytes }: CompileArgs) -> io::Result<()> {
    // A second more until the kill that nothing survives: the first signal tells what it was about.
    for (resource, soft, hard) in [
        (Resource::Core, 0, 0),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, MAX_FILES, MAX_FILES),
        (Resource::Cpu, cpu_seconds, cpu_seconds.saturating_add(1)),
        (Resource::As, memory_bytes, memory_bytes),
    ] {
        // Who started us may have set less already, and may not be outdone.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) })?;
    }
    rustix::process::nice(NICE)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// In this process, without limits: for components of one's own.
pub(super) fn in_process(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, ComponentError> {
    precompile(engine, wasm).map_err(|error| ComponentError::Invalid(component_file::one_line(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell script in the place of the compiler comes to.
    fn judged(script: &str, limits: CompileLimits) -> ComponentError {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compiler");
        // Written by another process: a program cannot be started while it is open for writing, in a child of another test's thread, say.
        let mut install = Command::new("install").args(["-m", "700", "/dev/stdin"]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        Compiler::new(path, limits).compile(&vec![0; 1 << 20]).expect_err("no code")
    }

    #[test]
    fn whatever_the_child_does_is_one_line() {
        let limits = CompileLimits { wall: Duration::from_secs(30), ..CompileLimits::default() };
        for (script, words) in [
            ("kill -9 $$", "is not compiled: the process ended with signal: 9 (SIGKILL); it said:"),
            ("kill -XCPU $$", "needs more than 120 s of computing to be compiled"),
            ("echo 'memory allocation of 7 bytes failed' >&2; kill -ABRT $$", "needs more than 2147483648 bytes of memory to be compiled"),
            ("printf 'bad\\nmagic'; exit 3", "is not accepted by the compiler: bad magic"),
            ("echo oh >&2; exit 7", "is not compiled: the process ended with exit status: 7; it said: oh"),
            ("head -c 300000000 /dev/zero", "becomes more than 268435456 bytes of native code"),
        ] {
            assert_eq!(judged(script, limits).to_string(), words, "{script}");
        }
        let short = CompileLimits { wall: Duration::from_millis(300), ..limits };
        assert_eq!(judged("exec sleep 60", short).to_string(), "is not compiled after 0.3 s");
        let error = Compiler::new("/nowhere/lakegate", limits).compile(b"").expect_err("no program");
        assert!(error.to_string().starts_with("is not compiled: /nowhere/lakegate cannot be started: "), "{error}");
    }

    #[test]
    fn the_child_sees_nothing_of_the_environment() {
        // Taken over from this process, or the test shows nothing.
        assert!(std::env::var_os("PATH").is_some());
        // The shell makes PWD and its like by itself; what the allocator is told comes from us.
        let said = judged(
            "/usr/bin/env | /bin/grep -vE '^(PWD|SHLVL|_|OLDPWD|MIMALLOC_ARENA_RESERVE)=' | /bin/grep . >&2 || echo nothing >&2; exit 7",
            CompileLimits::default(),
        );
        assert!(said.to_string().ends_with(": nothing"), "{said}");
    }
}
