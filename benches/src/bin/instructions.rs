//! `instructions --list` names the cases; `instructions NAME ROUNDS` sets a case up and runs it, to be counted by valgrind.
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = args.as_slice() else {
        for case in zanzara_benches::all() {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    };
    let Some(case) = zanzara_benches::all().into_iter().find(|case| case.name == *name) else {
        eprintln!("no case is called `{name}`; `--list` names them");
        return ExitCode::FAILURE;
    };
    let Ok(rounds) = rounds.parse::<u64>() else {
        eprintln!("`{rounds}` is no number of rounds");
        return ExitCode::FAILURE;
    };
    let mut work = (case.build)();
    work(); // buffers and caches are warm in both runs
    for _ in 0..rounds {
        work();
    }
    ExitCode::SUCCESS
}
