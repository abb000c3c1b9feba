use super::*;

fn page(dir: &Dir) -> io::Result<Page> {
    let page = Page::open(dir, 0o640)?;
    let end = End { segment_id: 2, offset: 8192, seq: 40 };
    page.initialise(&Initial {
        end,
        epoch: 257,
        first_seq: 10,
        durable_seq: 30,
        due: Due::Nothing,
        last_id: 2,
    })?;
    Ok(page)
}

#[test]
fn a_page_is_live_where_it_was_initialised_and_nowhere_else() -> io::Result<()> {
    let [here, copy] = [tempfile::tempdir()?, tempfile::tempdir()?];
    let dir = Dir::open(here.path())?;
    assert!(!Page::open(&dir, 0o640)?.is_live()?);
    let page = page(&dir)?;
    assert!(page.is_live()?);
    assert_eq!((page.first_seq(), page.epoch(), page.durable_seq()), (10, 257, 30));
    std::fs::copy(here.path().join(SHARED), copy.path().join(SHARED))?;
    assert!(!Page::open(&Dir::open(copy.path())?, 0o640)?.is_live()?);
    Ok(())
}

#[test]
fn the_durable_position_rises_within_its_epoch_only() -> io::Result<()> {
    let here = tempfile::tempdir()?;
    let page = page(&Dir::open(here.path())?)?;
    assert!(page.raise_durable(257, 35));
    assert!(page.raise_durable(257, 31), "already durable");
    assert_eq!(page.durable_seq(), 35);
    assert!(!page.raise_durable(256, 38), "captured before the epoch rose");
    page.poison();
    assert!(!page.raise_durable(257, 38));
    assert_eq!(page.durable_seq(), 35);
    Ok(())
}
