"""A database of one test."""

import psycopg


class Database:
    def __init__(self, url):
        self.url = url

    def connect(self, **options):
        return psycopg.connect(self.url, autocommit=True, **options)

    def query(self, sql, *parameters):
        """Run one statement; its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []
