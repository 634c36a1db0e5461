//! Every case by time: `cargo bench`, or `cargo bench -- match` for some.
use criterion::{Criterion, criterion_group, criterion_main};

fn run(criterion: &mut Criterion) {
    for case in zanzara_benches::all() {
        criterion.bench_function(&case.name, |bencher| {
            let mut work = (case.build)();
            bencher.iter(&mut work);
        });
    }
}

criterion_group!(cases, run);
criterion_main!(cases);
