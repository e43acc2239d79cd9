//! Home records, page by page, from a consistent view: what a directory is made anew from, and held against.

use flotilla_api::{
    FileName, codec,
    peer::{HOME_RECORDS_MAX, HomeRecord, HomesAnswer, HomesRequest, RecordState},
};
use flotilla_kv::View;

use super::{
    keys,
    rows::{HomeState, KeyRow},
};

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// A row does not decode.
    #[error(transparent)]
    Corrupt(#[from] codec::Error),
    /// A row's key is no file's name: a page that left it out would look like the last one.
    #[error("a row's key is no file's name")]
    Name,
}

/// Reads what was asked for.
///
/// # Bounds
/// At most [`HOME_RECORDS_MAX`] records; each is read with the content that stands in the metadata.
///
/// # Errors
/// [`Error`]; trying again does not help.
pub fn read(view: &dyn View, request: &HomesRequest) -> Result<HomesAnswer, Error> {
    let records = match request {
        HomesRequest::Page { after, limit } => {
            let mut from = after.as_ref().map_or_else(Vec::new, keys::file);
            if after.is_some() {
                from.push(0);
            }
            let limit = (*limit as usize).clamp(1, HOME_RECORDS_MAX);
            let rows = view.scan(keys::FILES, &from, None, limit)?;
            let named = rows.into_iter().map(|(key, row)| Ok((FileName::from_row(&key).ok_or(Error::Name)?, row)));
            named.collect::<Result<Vec<_>, Error>>()?
        }
        HomesRequest::Named { names } => {
            let names = &names[..names.len().min(HOME_RECORDS_MAX)];
            let of: Vec<Vec<u8>> = names.iter().map(keys::file).collect();
            let rows = view.get_many(keys::FILES, &of)?;
            names.iter().zip(rows).filter_map(|(name, row)| Some((name.clone(), row?))).collect()
        }
    };
    let records: Result<Vec<HomeRecord>, Error> = records.into_iter().map(|(name, row)| record(name, &row)).collect();
    let floor = match view.get(keys::SYSTEM, keys::SEALED_FLOOR)? {
        Some(bytes) => codec::decode(&bytes)?,
        None => flotilla_api::Epoch::default(),
    };
    Ok(HomesAnswer { records: records?, floor })
}

fn record(name: FileName, row: &[u8]) -> Result<HomeRecord, Error> {
    let KeyRow { epoch, home, file: _ } = codec::decode(row)?;
    let state = match home {
        HomeState::Open => RecordState::Open,
        HomeState::Sealed => RecordState::Sealed,
        HomeState::Closed => RecordState::Closed,
    };
    Ok(HomeRecord { name, epoch, state })
}

#[cfg(test)]
mod tests {
    use flotilla_api::Epoch;
    use flotilla_kv::{Batch, Kv, MemKv};

    use super::*;

    fn name(key: &str) -> FileName {
        FileName { bucket: "demo".parse().expect("a good name"), key: key.parse().expect("a good key") }
    }

    fn filled() -> std::sync::Arc<MemKv> {
        let kv = MemKv::inline(keys::FAMILIES);
        let mut batch = Batch::default();
        for (n, home) in
            [HomeState::Open, HomeState::Sealed, HomeState::Closed, HomeState::Open].into_iter().enumerate()
        {
            let row = KeyRow { epoch: Epoch(n as u64 + 1), home, file: None };
            batch.put(keys::FILES, keys::file(&name(&format!("k{n}"))), codec::encode(&row));
        }
        batch.put(keys::SYSTEM, keys::SEALED_FLOOR.to_vec(), codec::encode(&Epoch(9)));
        kv.write(batch).expect("memory");
        std::sync::Arc::new(kv)
    }

    #[test]
    fn pages_go_on_behind_the_last_record_and_have_all_states() {
        let kv = filled();
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let request = HomesRequest::Page { after: after.clone(), limit: 3 };
            let HomesAnswer { records, floor } = read(&*kv, &request).expect("rows that were encoded");
            assert_eq!(floor, Epoch(9));
            let ended = records.len() < 3;
            after = records.last().map(|record| record.name.clone());
            seen.extend(records.into_iter().map(|record| (record.name.key.to_string(), record.epoch.0, record.state)));
            if ended {
                break;
            }
        }
        use RecordState::{Closed, Open, Sealed};
        let expect = [("k0", 1, Open), ("k1", 2, Sealed), ("k2", 3, Closed), ("k3", 4, Open)];
        assert_eq!(seen, expect.map(|(key, epoch, state)| (key.to_owned(), epoch, state)));
        let request = HomesRequest::Named { names: vec![name("k2"), name("missing"), name("k0")] };
        let records = read(&*kv, &request).expect("rows that were encoded").records;
        let named: Vec<_> = records.iter().map(|record| record.name.key.as_str()).collect();
        assert_eq!(named, ["k2", "k0"]);
    }
}
