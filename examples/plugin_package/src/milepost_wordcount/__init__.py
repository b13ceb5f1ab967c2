"""The most frequent words of a folder of texts, as a job of milepost's."""
