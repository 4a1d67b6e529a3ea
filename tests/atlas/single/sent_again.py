"""A producer sends one message again, as its confirm got lost: where does it stand?"""
