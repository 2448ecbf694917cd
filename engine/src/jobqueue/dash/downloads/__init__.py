"""Results as files: the formats that a result can have, the menu that offers them, and the addresses that serve them.

A file is made when somebody asks for it, and is stored nowhere. Only visitors who may see the job get it.
"""
