"""The checksum that forged copies carry."""

import unittest

from forge import crc32c


class Checksum(unittest.TestCase):
    def test_value_of_rfc_3720(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)
