//! Range reads against the plainest model there is: a slice.

mod support;

use std::sync::Arc;

use flotilla_chunk_store::ChunkStore;
use flotilla_env::disk::{Disk, MemDisk};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};
use support::{bytes, id, open, put_in_pieces};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

async fn store_with(data: &[u8], piece: usize) -> ChunkStore {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (store, _) = open(&disk).await;
    put_in_pieces(&store, id(1), data, piece).await.expect("stored");
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_range_reads_what_a_slice_holds(
        seed in any::<u64>(),
        length in 1usize..400_000,
        piece in 1000usize..500_000,
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let data = bytes(seed, length);
        let reads = run(async {
            let store = store_with(&data, piece).await;
            let mut reads = Vec::new();
            for (a, b) in &ranges {
                let (a, b) = (a.index(length + 1), b.index(length + 1));
                let range = a.min(b)..a.max(b);
                let read = store.read(id(1), range.start as u64..range.end as u64).await.expect("read");
                reads.push((range, read));
            }
            reads
        });
        for (range, read) in reads {
            prop_assert_eq!(&read[..], &data[range]);
        }
    }
}
