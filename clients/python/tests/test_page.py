"""What a live page says, and what is there although it does not say so yet."""

import itertools
import os
import unittest
from unittest.mock import patch

import maplog
from maplog import format as layout
from maplog import page as pages
from maplog.segment import list_names, segments_of
from forge import Directory, live_page, page_end

#: Of the golden log "closed": its first number, the second segment's, its next.
FIRST, BASE, NEXT = 40, 53, 58


def offset_of(log, segment_id, seq):
    """Where the frame of a record begins."""
    segment = segments_of(log.path, list_names(log.path))[segment_id - 1]
    return next(part.offset for part in segment.walk(layout.HEADER_BYTES, segment.base, seq + 1) if part.next_seq > seq)


class LivePage(unittest.TestCase):
    def test_it_says_where_the_log_ends_and_begins(self):
        with Directory("closed") as log:
            live_page(log, {pages._FIRST_SEQ: 45, **page_end(1, offset_of(log, 1, 50), 50)})
            with open(log.files()[0], "r+b") as segment:
                segment.seek(offset_of(log, 1, 50))
                segment.write(bytes(4))
            view = maplog.Log(log.path)
            self.assertTrue(view.is_live)
            self.assertEqual([item.seq for item in view], list(range(45, 50)))

    def test_what_was_published_behind_its_end_counts(self):
        with Directory("closed") as log:
            live_page(log, {pages._FIRST_SEQ: FIRST, **page_end(2, offset_of(log, 2, 57), 57)})
            self.assertEqual(maplog.Log(log.path).next_seq, NEXT)

    def test_a_tail_finds_the_end_in_a_segment_that_was_named_before_it_moved(self):
        with Directory("closed") as log:
            words = {pages._FIRST_SEQ: FIRST, pages._DIRECTORY: 4}
            live_page(log, {**words, **page_end(1, offset_of(log, 1, BASE - 1) + 1024, BASE)})
            tail = maplog.Tail(log.path, FIRST)
            self.assertEqual([item.seq for item in iter(tail.try_recv, None)], list(range(FIRST, BASE)))
            live_page(log, page_end(2, offset_of(log, 2, NEXT - 1) + 32, NEXT))
            self.assertEqual([item.seq for item in iter(tail.try_recv, None)], list(range(BASE, NEXT)))

    def test_a_directory_is_listed_beside_any_number_of_rolls(self):
        with Directory("closed") as log:
            live_page(log, {pages._FIRST_SEQ: FIRST, **page_end(2, offset_of(log, 2, NEXT - 1) + 32, NEXT)})
            listed = list_names(log.path)
            made = (listed[-1][0]._replace(id=3, base=NEXT), "made")
            listings, turns = itertools.count(), itertools.count()

            def list_one_that_comes_and_goes(_):
                count = next(listings)
                return [*listed, made] if count < 1000 and count % 2 else listed

            with patch("maplog.log.list_names", list_one_that_comes_and_goes):
                with patch.object(pages.Page, "directory", lambda _: next(turns)):
                    self.assertEqual(maplog.Log(log.path).next_seq, NEXT)
            self.assertGreater(next(listings), 1000)

    def test_a_page_of_another_file_or_boot_is_not_live(self):
        with Directory("closed") as log:
            for place in range(pages._BOOT_HIGH, pages._INSTANCE):
                live_page(log, {pages._FIRST_SEQ: 45, **page_end(1, layout.HEADER_BYTES, FIRST)})
                self.assertTrue(maplog.Log(log.path).is_live)
                with open(os.path.join(log.path, pages.NAME), "r+b") as file:
                    file.seek(place * pages.WORD_BYTES)
                    file.write(b"\xee" * pages.WORD_BYTES)
                view = maplog.Log(log.path)
                self.assertEqual((view.is_live, view.first_seq, view.next_seq), (False, FIRST, NEXT), place)


if __name__ == "__main__":
    unittest.main()
